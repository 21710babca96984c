// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every exported name has a comment, on every system.
func TestDocumented(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	packageDoc := false
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		packageDoc = packageDoc || strings.HasPrefix(f.Doc.Text(), "Package evchan ")
		for _, n := range undocumented(fset, f) {
			t.Errorf("%s: %s has no comment", fset.Position(n.Pos()), n.Name)
		}
	}
	if !packageDoc {
		t.Error("the package has no comment")
	}
}

// undocumented returns the exported names of f that have no comment.
func undocumented(fset *token.FileSet, f *ast.File) (bare []*ast.Ident) {
	// check adds the exported ones of names unless one of comments says something.
	check := func(names []*ast.Ident, comments ...*ast.CommentGroup) {
		for _, c := range comments {
			if c.Text() != "" {
				return
			}
		}
		for _, n := range names {
			if n.IsExported() {
				bare = append(bare, n)
			}
		}
	}
	for _, decl := range f.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Recv == nil || receiver(decl).IsExported() {
				check([]*ast.Ident{decl.Name}, decl.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range decl.Specs {
				switch spec := spec.(type) {
				case *ast.ValueSpec:
					check(spec.Names, decl.Doc, spec.Doc, spec.Comment)
				case *ast.TypeSpec:
					check([]*ast.Ident{spec.Name}, decl.Doc, spec.Doc, spec.Comment)
					// The comment of a type that fits on one line covers its members.
					if spec.Name.IsExported() && fset.Position(spec.Pos()).Line != fset.Position(spec.End()).Line {
						for _, field := range members(spec.Type) {
							check(field.Names, field.Doc, field.Comment)
						}
					}
				}
			}
		}
	}
	return bare
}

// receiver returns the name of the type that the method belongs to.
func receiver(method *ast.FuncDecl) *ast.Ident {
	e := method.Recv.List[0].Type
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		default:
			return ast.NewIdent("_")
		}
	}
}

// members returns the fields of a struct or the methods of an interface.
func members(e ast.Expr) []*ast.Field {
	switch e := e.(type) {
	case *ast.StructType:
		return e.Fields.List
	case *ast.InterfaceType:
		return e.Methods.List
	}
	return nil
}

func TestUndocumented(t *testing.T) {
	const src = `package p

type Bare struct{ X int }

// Good is documented.
type Good struct {
	Said   int // said
	Unsaid int
	own    int
	Group1, Group2 int
}

// Short is documented with its field.
type Short struct{ X int }

// Iface is documented.
type Iface interface {
	M()
	// N does.
	N()
}

type hidden struct{ Y int }

func (hidden) Method()   {}
func (*Good) Method()    {}
func (Good) own()        {}
func Func()              {}
// Func2 does.
func Func2()             {}
const C = 1
const (
	D = 1 // one
	E = 2
)
// Both are documented.
var (
	F = 1
	G = 2
)
`
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "p.go", src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range undocumented(fset, f) {
		got = append(got, n.Name)
	}
	if got, want := strings.Join(got, " "), "Bare Unsaid Group1 Group2 M Method Func C E"; got != want {
		t.Errorf("undocumented: %s; want %s", got, want)
	}
}

// The first piece of Go in README.md compiles.
func TestReadmeExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok := strings.Cut(string(readme), "```go\n")
	code, _, ok2 := strings.Cut(code, "\n```")
	if !ok || !ok2 {
		t.Fatal("README.md has no Go in it")
	}
	compile(t, code)
}

// The first piece of Go in doc.go compiles. The other one is TestDocSkeleton's.
func TestDocExample(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok := strings.Cut(string(doc), "\n\t")
	code, _, ok2 := strings.Cut(code, "\n\n")
	if !ok || !ok2 {
		t.Fatal("doc.go has no Go in it")
	}
	compile(t, code)
}

// compile fails the test unless code, a program or statements, compiles with the package.
func compile(t *testing.T, code string) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command to compile the example with: ", err)
	}
	if !strings.HasPrefix(code, "package ") {
		code = wrapMain(code)
	}

	// An overlay makes the program part of the module without a file in it.
	dir := t.TempDir()
	real := filepath.Join(dir, "main.go")
	if err := os.WriteFile(real, []byte(code), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{
		"Replace": map[string]string{filepath.Join(root, "text_example", "main.go"): real},
	})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), goTool, "build", "-overlay", list, "-o", filepath.Join(dir, "example"), "./text_example")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, code)
	}
}

// wrapMain makes a program of statements, with what they need of these imports.
func wrapMain(code string) string {
	var b strings.Builder
	b.WriteString("package main\n\n")
	for _, path := range []string{"context", "fmt", "io", "log", "os", "time", "github.com/evchan/evchan"} {
		if strings.Contains(code, path[strings.LastIndex(path, "/")+1:]+".") {
			b.WriteString("import \"" + path + "\"\n")
		}
	}
	b.WriteString("\nfunc main() {\n" + code + "\n}\n")
	return b.String()
}

// The files that the texts link to exist.
func TestMarkdownLinks(t *testing.T) {
	texts, err := filepath.Glob("*.md")
	if err != nil || len(texts) == 0 {
		t.Fatal("no texts found: ", err)
	}
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for _, name := range texts {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllSubmatch(text, -1) {
			target, _, _ := strings.Cut(string(m[1]), "#")
			if target == "" || strings.Contains(target, "://") {
				continue // a heading, or a page elsewhere
			}
			if _, err := os.Stat(filepath.FromSlash(target)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// CI runs the commands that README.md gives to try it.
func TestReadmeCommands(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	parts, err := filepath.Glob(filepath.Join(".ci", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var steps []byte
	for _, name := range parts {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		steps = append(steps, text...)
	}
	commands := regexp.MustCompile(`(?m)^    (go (?:run|test) .*)$`).FindAllSubmatch(readme, -1)
	if len(commands) != 2 {
		t.Errorf("README.md has %d commands, want one to see it work and one for the tests", len(commands))
	}
	for _, m := range commands {
		step := regexp.MustCompile(`(?m)^step '.*' \d+ ` + regexp.QuoteMeta(string(m[1])) + `( |$)`)
		if !step.Match(steps) {
			t.Errorf("%s: no script in .ci has a step that runs it", m[1])
		}
	}
}
