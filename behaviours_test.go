// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// notApplicable says of each behaviour of libevent's own tests that has no test
// here, of those that belong into the first list, why that is so.
var notApplicable = map[string]string{
	"A18": "no callback runs that could ask which one it is: the message names its source",
	"A19": "signals and descriptors are watched by different types, so one cannot ask for both",
	"A38": "there is no helper for one shot: a Watch without Persist and After are one-shot",
	"A39": "as A38; that a closed loop delivers nothing and leaves nothing is tested of every source",
	"C18": "the clock is package time's, which is monotonic",
	"G5":  "a signal watch has no time limit of its own: a Timer beside it does that",
	"H2":  "no callback runs that a call could wait for; what is received after a call has returned is U1's subject",
	"H7":  "no lock can be held by a user; all calls at once are TestCallsReturn",
	"U15": "there is no resolver of its own in this package",
}

// TestBehaviours checks that every behaviour on the list has a test with its id
// in the name, or a reason why not.
func TestBehaviours(t *testing.T) {
	ids := strings.Fields(`
		A1 A2 A3 A4 A8 A11 A12 A14 A15 A18 A19 A20 A21 A23 A25 A29 A38 A39 A46
		B1
		C1 C2 C3 C5 C7 C8 C9 C11 C12 C14 C15 C18
		D1 D3 D4 D7
		E1 E3 E4 E6 E7 E8 E9
		G1 G2 G3 G5 G6
		H2 H3 H5 H7
		L1 L2 L3 L4 L5 L6 L7 L9 L15 L16 L18 L19 L21 L23
		O1 O2 O3 O4 O6 O7
		U1 U2 U3 U4 U7 U8 U9 U10 U11 U12 U13 U14 U15`)
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	// Names of test functions, and of subtests, which are string keys.
	names := regexp.MustCompile(`func Test(\w+)|"([A-Z]\d+\w*)[/"]|t\.Run\("([A-Z]\d+\w*)`)
	id := regexp.MustCompile(`[A-Z]\d+`)
	tested := make(map[string]bool)
	for _, file := range files {
		if file == "behaviours_test.go" {
			continue
		}
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range names.FindAllStringSubmatch(string(src), -1) {
			for _, s := range id.FindAllString(m[1]+m[2]+m[3], -1) {
				tested[s] = true
			}
		}
	}
	for _, id := range ids {
		switch why := notApplicable[id]; {
		case !tested[id] && why == "":
			t.Errorf("%s has neither a test nor a reason why not", id)
		case tested[id] && why != "":
			t.Errorf("%s has a test and a reason why not", id)
		}
	}
}
