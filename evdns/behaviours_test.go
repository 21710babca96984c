// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// behaviours lists what libevent's own tests check of DNS, by number. Each has its tests here,
// or the reason why it has none.
var behaviours = []struct {
	id, what string
	tests    string // separated by spaces
	none     string
}{
	{"P1", "the server's A, AAAA and PTR records reach the client; a question that is dropped can be cancelled", "TestServer TestResolverWithServer TestQueryClose", ""},
	{"P2", "the search list is tried in its order, or not at all; an empty name is answered at once", "TestSearch TestLookupWithoutServer", ""},
	{"P3", "a server that answers in small letters is understood", "TestCase", ""},
	{"P4", "that there is no name and that there are no data differ, and have the SOA's TTL", "TestLookup TestTTL", ""},
	{"P5", "the canonical name is told", "TestLookup TestChains", ""},
	{"P6", "what is cancelled is not answered, and not asked any more", "TestQueryClose TestSearchClose", ""},
	{"P7", "lost questions are asked again; a server is down after some, and probed", "TestServerDownAndUp TestUnreliable TestLoss", ""},
	{"P8", "the intervals of probes grow up to their limit", "TestProbeIntervals", ""},
	{"P9", "what one server does not implement, another one is asked", "TestReissue", ""},
	{"P10", "however few questions may be under way, all are answered", "TestMaxInflight", ""},
	{"P11", "a resolver does not keep the loop alive, a query does", "TestExitOnEmpty", ""},
	{"P12", "without a file, or without servers in it, this host is asked", "TestDefaultServers", ""},
	{"P13", "addresses and localhost are answered at once", "TestLookupWithoutServer", "" /* service names: net.LookupPort */},
	{"P14", "one family may be asked for alone, and may fail alone", "TestLookup TestOneFamily", ""},
	{"P15", "answers are kept, failures are not; the wrong family is an error", "TestLookup TestTTL TestFailuresAreNotKept TestLookupWithoutServer", ""},
	{"P16", "long names survive", "TestLongNames", ""},
	{"P17", "many queries, some cancelled at random: each is answered once", "TestQueryClose", ""},
	{"P18", "Close fails what is not answered", "TestResolverClose", ""},
	{"P19", "nothing is left, in whatever order things end", "TestResolverClose TestSetServers TestQueryClose", ""},
	{"P20", "a truncated answer is asked for by TCP, unless that is not wanted; TCP may be wanted at once", "TestTruncated", ""},
	{"P21", "TCP: many questions by one connection, many connections, silence, refusal", "TestTCPPipeline TestTCPFaults TestTCPSilence TestReissue", ""},
	{"P22", "a larger size lets a large answer through", "TestEDNSSize TestServerTruncates", ""},
	{"P23", "options by their names", "TestSetOption", ""},
	{"P24", "options for TCP are refused on a UDP port", "", "a ServerConfig is for both; what does not apply is ignored, as its comments say"},
	{"U15", "an answer in other letters does not count", "TestCase", ""},
}

func TestBehaviours(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)`).FindAllSubmatch(text, -1) {
			found[string(m[1])] = true
		}
	}
	for _, b := range behaviours {
		if (b.tests == "") == (b.none == "") {
			t.Errorf("%s: either tests or a reason", b.id)
		}
		for test := range strings.FieldsSeq(b.tests) {
			if !found[test] {
				t.Errorf("%s: there is no %s", b.id, test)
			}
		}
	}
}
