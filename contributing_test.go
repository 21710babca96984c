// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// contributing returns the section of CONTRIBUTING.md with the given heading.
func contributing(t *testing.T, heading string) string {
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## "+heading+"\n")
	if !ok {
		t.Fatalf("CONTRIBUTING.md has no section %q", heading)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	return section
}

// quoted has what stands between backquotes.
var quoted = regexp.MustCompile("`([^`\n]+)`")

// Everything that the page about bytes and timers names is declared in the package.
func TestContributingNames(t *testing.T) {
	declared := declarationsIn(t, ".").names
	page := contributing(t, "How a byte comes in, how a byte goes out, how a timer rings")
	names := quoted.FindAllStringSubmatch(page, -1)
	if len(names) < 80 {
		t.Errorf("the page names %d functions", len(names))
	}
	for _, m := range names {
		if !declared[m[1]] {
			t.Errorf("CONTRIBUTING.md names `%s`, which is not declared in the package", m[1])
		}
	}
}

// The files that the texts name exist.
func TestNamedFiles(t *testing.T) {
	texts, err := filepath.Glob("*.md")
	if err != nil || len(texts) == 0 {
		t.Fatal("no texts found: ", err)
	}
	for _, name := range texts {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
			if !strings.HasSuffix(m[1], ".go") && !strings.HasPrefix(m[1], ".ci/") {
				continue
			}
			if matches, err := filepath.Glob(m[1]); err != nil || len(matches) == 0 {
				t.Errorf("%s names `%s`, which does not exist", name, m[1])
			}
		}
	}
}

// The table of files has every file of the package.
func TestContributingFiles(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var patterns []string
	for _, m := range quoted.FindAllStringSubmatch(contributing(t, "Where things are"), -1) {
		patterns = append(patterns, m[1])
	}
	for _, name := range files {
		named := slices.ContainsFunc(patterns, func(p string) bool {
			ok, err := filepath.Match(p, name)
			return ok && err == nil
		})
		if !named && !strings.HasSuffix(name, "_test.go") {
			t.Errorf("CONTRIBUTING.md does not say what is in %s: add it to the table", name)
		}
	}
}
