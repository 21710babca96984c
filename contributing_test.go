// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
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
	declared := declaredNames(t)
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

// declaredNames returns what the package declares, on any system: names, and
// Type.name for methods and fields.
func declaredNames(t *testing.T) map[string]bool {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := make(map[string]bool)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				prefix := ""
				if decl.Recv != nil {
					prefix = receiver(decl).Name + "."
				}
				declared[prefix+decl.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.ValueSpec:
						for _, n := range spec.Names {
							declared[n.Name] = true
						}
					case *ast.TypeSpec:
						declared[spec.Name.Name] = true
						for _, field := range members(spec.Type) {
							for _, n := range field.Names {
								declared[spec.Name.Name+"."+n.Name] = true
							}
						}
					}
				}
			}
		}
	}
	return declared
}

// The table of files names files that exist, and every file of the package.
func TestContributingFiles(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	named := make(map[string]bool)
	for _, m := range quoted.FindAllStringSubmatch(contributing(t, "Where things are"), -1) {
		matches, err := filepath.Glob(m[1])
		if err != nil || len(matches) == 0 {
			if !strings.HasPrefix(m[1], "golang.org/") {
				t.Errorf("CONTRIBUTING.md names `%s`, which does not exist", m[1])
			}
		}
		for _, name := range matches {
			named[name] = true
		}
	}
	for _, name := range files {
		if !named[name] && !strings.HasSuffix(name, "_test.go") {
			t.Errorf("CONTRIBUTING.md does not say what is in %s: add it to the table", name)
		}
	}
}
