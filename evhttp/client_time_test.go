// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evchan/evchan"
)

// In virtual time, each timeout of a client passes exactly when it must, and retries wait for exactly
// their delays, which double.
func TestClientVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		loop, err := evchan.New(&evchan.Config{Method: "memory"})
		if err != nil {
			t.Fatal(err)
		}
		defer loop.Close()
		if _, err := Listen(loop, "memory", "here", nil); err != nil {
			t.Fatal(err)
		}
		if _, err := loop.Listen("memory", "silent", nil); err != nil {
			t.Fatal(err)
		}
		var dials []time.Duration
		began := time.Now()
		cl := NewClient(loop, &ClientConfig{
			MaxConns:     1,
			QueueTimeout: 20 * time.Second,
			Retries:      3,
			Address: func(hostport string) (network, address string) {
				dials = append(dials, time.Since(began))
				return "memory", hostport[:len(hostport)-len(":80")]
			},
		})
		// wait returns the next response, and when it has come.
		wait := func() (*Response, time.Duration) {
			t.Helper()
			for {
				ev, ok := loop.Poll(time.Hour)
				if !ok {
					t.Fatal("no message")
				}
				switch ev := ev.(type) {
				case *Request:
					ev.ReplyString(200, "ok")
				case *Response:
					return ev, time.Since(began)
				}
			}
		}
		do := func(host string) {
			t.Helper()
			if err := cl.Do(&Call{Request: request(t, "GET", "http://"+host, nil)}); err != nil {
				t.Fatal(err)
			}
		}

		do("here")
		resp, d := wait()
		if want(t, resp, 200, "ok"); d != 0 {
			t.Errorf("after %v", d)
		}
		do("silent")
		do("silent")
		resp, d = wait()
		if wantError(t, resp.Err, PhaseQueue, os.ErrDeadlineExceeded); d != 20*time.Second {
			t.Errorf("after %v", d)
		}
		resp, d = wait()
		if wantError(t, resp.Err, PhaseHead, os.ErrDeadlineExceeded); d != 50*time.Second {
			t.Errorf("after %v", d)
		}
		do("here") // over the connection that waits
		resp, _ = wait()
		want(t, resp, 200, "ok")
		if st := cl.Stats(); st.Conns != 1 || st.Idle != 1 {
			t.Errorf("%+v", st)
		}
		loop.Poll(89 * time.Second)
		if st := cl.Stats(); st.Idle != 1 {
			t.Errorf("after 89 seconds: %+v", st)
		}
		loop.Poll(time.Second + 1)
		if st := cl.Stats(); st.Conns != 0 {
			t.Errorf("after 90 seconds: %+v", st)
		}

		dials, began = nil, time.Now()
		do("nowhere")
		resp, d = wait()
		if wantError(t, resp.Err, PhaseConnect, nil); d != 14*time.Second {
			t.Errorf("after %v", d)
		}
		if got := fmt.Sprint(dials); got != "[0s 2s 6s 14s]" {
			t.Error(got)
		}
	})
}
