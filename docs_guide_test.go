// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
)

// A docBlock is a piece of Go in docs, with the output that follows it there.
type docBlock struct {
	where  string
	code   string
	output string
	run    bool // output follows
}

// docBlocks returns the pieces of Go in docs, each as a program or a test.
func docBlocks(t *testing.T) (blocks []docBlock) {
	texts, err := filepath.Glob(filepath.Join("docs", "*.md"))
	if err != nil || len(texts) == 0 {
		t.Fatal("no texts found: ", err)
	}
	piece := regexp.MustCompile("(?s)```go\n(.*?\n)```\n(?:\n```text\n(.*?)```\n)?")
	for _, name := range texts {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range piece.FindAllSubmatchIndex(text, -1) {
			line := 1 + strings.Count(string(text[:at[0]]), "\n")
			b := docBlock{where: fmt.Sprintf("%s:%d", name, line), code: string(text[at[2]:at[3]]), run: at[4] >= 0}
			if b.run {
				b.output = string(text[at[4]:at[5]])
			}
			if !strings.HasPrefix(b.code, "package ") {
				b.code = wrapDoc(b.code)
			}
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// wrapDoc makes a program of statements: with the imports that they need, and with must.
func wrapDoc(code string) string {
	var b strings.Builder
	b.WriteString("package main\n\nimport (\n")
	uses := regexp.MustCompile(`//.*`).ReplaceAllString(code, "")
	for _, path := range []string{
		"bytes", "context", "crypto/tls", "fmt", "io", "log", "net", "net/http", "os", "os/signal", "time",
		"github.com/evchan/evchan", "github.com/evchan/evchan/evframe", "github.com/evchan/evchan/evhttp",
		"github.com/evchan/evchan/evtls",
	} {
		name := path[strings.LastIndex(path, "/")+1:]
		if name == "log" || regexp.MustCompile(`\b`+name+`\.[A-Z]`).MatchString(uses) {
			b.WriteString("\t\"" + path + "\"\n")
		}
	}
	b.WriteString(")\n\nfunc must[T any](v T, err error) T {\n\tif err != nil {\n\t\tlog.Fatal(err)\n\t}\n\treturn v\n}\n")
	b.WriteString("\nfunc main() {\n" + code + "}\n")
	return b.String()
}

// The Go in docs compiles. Where output follows, the program prints it.
func TestDocs(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command to compile the programs with: ", err)
	}
	if runtime.GOOS == "js" || runtime.GOOS == "wasip1" {
		t.Skip("the system starts no other programs")
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	// An overlay makes the programs part of the module without a file in it.
	dir := t.TempDir()
	list := filepath.Join(dir, "overlay.json")
	replace := make(map[string]string)
	blocks := docBlocks(t)
	programs := make(map[string]docBlock) // by folder
	tests := 0
	build := []string{"build", "-overlay", list, "-o", dir + string(filepath.Separator)}
	for i, b := range blocks {
		folder, file := fmt.Sprintf("docs_example%d", i), "main.go"
		if !strings.HasPrefix(b.code, "package main\n") {
			tests++
			file = "guide_test.go"
		} else {
			build = append(build, "./"+folder)
		}
		real := filepath.Join(dir, folder+"_"+file)
		if err := os.WriteFile(real, []byte(b.code), 0o600); err != nil {
			t.Fatal(err)
		}
		replace[filepath.Join(root, folder, file)] = real
		programs[folder] = b
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), goTool, build...).CombinedOutput(); err != nil {
		for folder, b := range programs {
			t.Logf("%s is %s", folder, b.where)
		}
		t.Fatalf("%v\n%s", err, out)
	}
	ran := 0
	for folder, b := range programs {
		name := filepath.Join(dir, folder)
		if runtime.GOOS == "windows" {
			name += ".exe"
		}
		switch {
		case !strings.HasPrefix(b.code, "package main\n"):
			// go vet would look for the folder, which is not there.
			c := exec.CommandContext(t.Context(), goTool, "test", "-c", "-vet=off", "-overlay", list, "-o", name, "./"+folder)
			if out, err := c.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", b.where, err, out)
				continue
			}
		case !b.run:
			continue
		}
		cmd := exec.CommandContext(t.Context(), name)
		ran++
		t.Run(folder, func(t *testing.T) {
			out, err := cmd.CombinedOutput()
			if err != nil || b.run && string(out) != b.output {
				t.Errorf("%s: %v, and the output is\n%s\nwant\n%s", b.where, err, out, b.output)
			}
		})
	}
	if len(blocks) < 15 || ran < 10 || tests < 1 {
		t.Errorf("docs has %d pieces of Go, of which %d were run and %d are tests", len(blocks), ran, tests)
	}
}
