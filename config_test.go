// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"testing"
)

// TestConfigChoosesMethod checks the choice of the method.
func TestConfigChoosesMethod(t *testing.T) {
	if len(socketMethods()) < 2 {
		t.Skip("there is but one method with sockets here")
	}
	best := Methods()[0]
	get := func(c *Config) string {
		t.Helper()
		l, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Method()
	}
	t.Setenv("EVCHAN_METHOD", "")
	t.Setenv("EVCHAN_AVOID", "")
	if got := get(nil); got != best {
		t.Errorf("nil: %s", got)
	}
	if got := get(&Config{Avoid: []string{best}}); got == best {
		t.Error("the method was not avoided")
	}
	if got := get(&Config{Require: FeatureAnyFD}); got != "poll" {
		t.Errorf("for any descriptor: %s", got)
	}
	t.Setenv("EVCHAN_AVOID", "x,"+best)
	if got := get(nil); got == best {
		t.Error("EVCHAN_AVOID has no effect")
	}
	if got := get(&Config{IgnoreEnv: true}); got != best {
		t.Error("IgnoreEnv has no effect")
	}
	t.Setenv("EVCHAN_AVOID", "")
	t.Setenv("EVCHAN_METHOD", "poll")
	if got := get(nil); got != "poll" {
		t.Error("EVCHAN_METHOD has no effect")
	}
	if got := get(&Config{Method: best}); got != best {
		t.Error("EVCHAN_METHOD beats Config.Method")
	}
	t.Setenv("EVCHAN_METHOD", "quantum")
	if _, err := New(nil); err == nil {
		t.Error("an unknown EVCHAN_METHOD gives no error")
	}
}

func TestFeatureString(t *testing.T) {
	for _, c := range []struct {
		f    Feature
		want string
	}{
		{0, "0"},
		{FeatureO1, "FeatureO1"},
		{FeatureEdge | FeatureAnyFD | FeatureEarlyClose, "FeatureEdge|FeatureAnyFD|FeatureEarlyClose"},
	} {
		if got := c.f.String(); got != c.want {
			t.Errorf("%d: got %s, want %s", c.f, got, c.want)
		}
	}
}
