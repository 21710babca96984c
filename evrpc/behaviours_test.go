// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evrpc_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// behaviours lists what libevent's own tests check of its RPC and its tagged messages, by their numbers in
// group S, with the tests here and in evtag. Where we do something else on purpose, note says so.
var behaviours = []struct{ id, what, tests, note string }{
	{"S3", "a body that is no message, and another method than POST, give 503", "TestServerStatus TestPoolLibeventErrors", ""},
	{"S3", "a call gets its answer, more than once over a connection", "TestServerPool TestServerLibevent TestPoolLibevent TestPoolReuse", ""},
	{"S3", "calls that wait share a connection", "TestPoolQueue", ""},
	{"S3", "a call that is not answered times out, and the answer that comes late does no harm", "TestPoolTimeout TestTimeoutTimes TestServerGone", ""},
	{"S4", "hooks set fields and keep values", "TestPoolHooks TestServerHooks", ""},
	{"S4", "hooks pause calls in both directions", "TestPoolHooksPause TestServerHooks", "the hooks behind the one that has paused are called too"},
	{"S5", "integers and tags come back", "TestRawUint TestRawTag", ""},
	{"S5", "random bytes and broken lengths fail", "TestRandomBytesFail TestLibevent", ""},
	{"S6", "the next item can be looked at, and skipped", "TestPeek FuzzDecoder", ""},
	{"", "generated messages come back (rpc/test)", "TestMarshalMsg TestLibevent", ""},
}

func TestBehaviours(t *testing.T) {
	var files []string
	for _, dir := range []string{".", "evtag"} {
		found, err := filepath.Glob(dir + "/*_test.go")
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	have := make(map[string]bool)
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)`).FindAllStringSubmatch(string(src), -1) {
			have[m[1]] = true
		}
	}
	for _, b := range behaviours {
		for name := range strings.FieldsSeq(b.tests) {
			if !have[name] {
				t.Errorf("%s: there is no %s", b.id, name)
			}
		}
	}
}
