// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evws

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// A program is a WebSocket implementation in another language.
type program struct {
	name string
	run  func(script string, args ...string) *exec.Cmd // nil: it is not installed
}

// programs returns node's ws and python's websockets.
func programs(t *testing.T) []program {
	t.Helper()
	node := func(script string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "node", append([]string{script + ".js"}, args...)...)
		cmd.Env = append(os.Environ(), "NODE_PATH=/usr/share/nodejs")
		return cmd
	}
	if check := node("", ""); check.Err != nil || !works(check.Env, "node", "-e", `require("ws").WebSocketServer`) {
		node = nil
	}
	var python func(script string, args ...string) *exec.Cmd
	for _, path := range []string{"/usr/bin/python3", "python3"} {
		if works(nil, path, "-c", "import websockets") {
			python = func(script string, args ...string) *exec.Cmd {
				return exec.CommandContext(t.Context(), path, append([]string{script + ".py"}, args...)...)
			}
			break
		}
	}
	return []program{{"node", node}, {"python", python}}
}

func works(env []string, name string, args ...string) bool {
	cmd := exec.Command(name, args...)
	cmd.Env = env
	return cmd.Run() == nil
}

// TestPrograms connects with node's ws and python's websockets, both ways. They keep memory from one
// message to the next if they may, and compress all.
func TestPrograms(t *testing.T) {
	t.Parallel()
	for _, p := range programs(t) {
		if p.run == nil {
			t.Logf("%s has no WebSockets here", p.name)
			continue
		}
		for _, takeover := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s as client, takeover %v", p.name, takeover), func(t *testing.T) {
				url := serveEcho(t, &Config{Compress: true, ContextTakeover: takeover, Subprotocols: []string{"a", "b"}}, nil)
				cmd := p.run("testdata/client", url)
				var stderr strings.Builder
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%v\n%s", err, stderr.String())
				}
				if s := strings.TrimSpace(string(out)); s != "4003 b permessage-deflate" {
					t.Errorf("it says %q", s)
				}
			})
		}
		t.Run(p.name+" as server", func(t *testing.T) {
			cmd := p.run("testdata/server")
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			port, err := bufio.NewReader(stdout).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			for _, conf := range []Config{{}, {Compress: true}, {Compress: true, ContextTakeover: true}} {
				loop := newLoop(t, "")
				c, err := Dial(loop, "ws://127.0.0.1:"+strings.TrimSpace(port), &DialConfig{Config: &conf})
				if err != nil {
					t.Fatal(err)
				}
				askAndEnd(t, loop, c)
				if c.Compressed() != conf.Compress {
					t.Errorf("compressed: %v", c.Compressed())
				}
			}
			stdin.Close()
			cmd.Wait()
		})
	}
}
