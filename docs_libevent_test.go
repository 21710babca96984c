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
	"runtime"
	"strings"
	"testing"
)

const libeventHeaders = "/usr/include/event2" // where Debian's libevent-dev has them

// docs/libevent.md has every function of libevent's headers, and every macro with arguments.
func TestLibeventTable(t *testing.T) {
	headers, err := filepath.Glob(filepath.Join(libeventHeaders, "*.h"))
	if err != nil {
		t.Fatal(err)
	}
	if len(headers) == 0 {
		t.Skip("no libevent headers in ", libeventHeaders, ": install libevent-dev")
	}
	listed := make(map[string]bool)
	for _, row := range libeventRows(t) {
		for _, m := range quoted.FindAllStringSubmatch(row.left, -1) {
			listed[m[1]] = true
		}
	}
	found := 0
	for _, header := range headers {
		text, err := os.ReadFile(header)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range declaredInC(string(text)) {
			found++
			if !listed[name] {
				t.Errorf("docs/libevent.md does not say what to write for %s of %s", name, filepath.Base(header))
			}
		}
	}
	if found < 500 {
		t.Errorf("found %d functions in the headers", found)
	}
}

// declaredInC returns the functions that a header of libevent declares, and the macros with
// arguments that it defines. It leaves out what is only for the header itself.
func declaredInC(text string) (names []string) {
	text = regexp.MustCompile(`(?s)/\*.*?\*/`).ReplaceAllString(text, "")
	directive := regexp.MustCompile(`(?m)^[ \t]*#(?:.*\\\n)*.*$`)
	macro := regexp.MustCompile(`^[ \t]*#[ \t]*define[ \t]+(\w+)\(`)
	for _, line := range directive.FindAllString(text, -1) {
		if m := macro.FindStringSubmatch(line); m != nil && !strings.HasPrefix(m[1], "TAILQ_") && !strings.HasPrefix(m[1], "LIST_") {
			names = append(names, m[1])
		}
	}
	text = directive.ReplaceAllString(text, "")
	for _, decl := range strings.Split(text, ";") {
		if strings.Contains(decl, "typedef") {
			continue
		}
		// The first name with a parenthesis behind it; a type such as void (*f)(int) has none.
		m := regexp.MustCompile(`\b((?:ev|event|evbuffer|bufferevent|libevent)\w*)\s*\(`).FindStringSubmatch(decl)
		if m != nil && !strings.HasPrefix(m[1], "EV") {
			names = append(names, m[1])
		}
	}
	return names
}

func TestDeclaredInC(t *testing.T) {
	const text = `
/* event_not(this); */
#define evtimer_add(ev, tv) \
	event_add((ev), (tv))
#define EV_READ 0x02
#define TAILQ_ENTRY(type) struct {}
typedef void (*event_cb)(int);
EVENT2_EXPORT_SYMBOL
int event_add(struct event *ev,
    void (*cb)(int)) EV_CHECK_FMT(1, 2);
void (*event_get(struct event *))(int);
struct event { int (*evcb)(int); };
#ifdef X
int evx(void);
#endif
`
	if got, want := strings.Join(declaredInC(text), " "), "evtimer_add event_add event_get evx"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A libeventRow is one of the tables in docs/libevent.md.
type libeventRow struct{ left, right string }

func libeventRows(t *testing.T) (rows []libeventRow) {
	text, err := os.ReadFile(filepath.Join("docs", "libevent.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(text), "\n") {
		if cells := strings.SplitN(line, "|", 3); len(cells) == 3 && strings.Contains(cells[1], "`") {
			rows = append(rows, libeventRow{cells[1], cells[2]})
		}
	}
	if len(rows) < 200 {
		t.Errorf("docs/libevent.md has %d rows", len(rows))
	}
	return rows
}

// What docs/libevent.md names is declared in the packages of the repository, or in those of Go.
func TestLibeventTableNames(t *testing.T) {
	folders := map[string]string{
		"evchan": ".", "evframe": "evframe", "evtls": "evtls", "evhttp": "evhttp", "evrpc": "evrpc",
		"evtag": "evrpc/evtag", "evdns": "evdns", "evws": "evws",
	}
	// runtime.GOROOT is deprecated for programs that run elsewhere than they were built.
	std := filepath.Join(runtime.GOROOT(), "src") //lint:ignore SA1019 a test runs where it was built, or skips these names
	for name, path := range map[string]string{
		"bytes": "bytes", "errors": "errors", "fmt": "fmt", "html": "html", "http": "net/http", "io": "io", "net": "net",
		"netip": "net/netip", "rand": "crypto/rand", "strconv": "strconv", "strings": "strings", "time": "time",
		"url": "net/url", "debug": "runtime/debug",
	} {
		folders[name] = filepath.Join(std, filepath.FromSlash(path))
	}
	packages := make(map[string]*declarations)
	name := regexp.MustCompile(`^(?:([a-z]+)\.)?([A-Z]\w*(?:\.[A-Z]\w*)*)$`)
	checked := 0
	for _, row := range libeventRows(t) {
		for _, m := range quoted.FindAllStringSubmatch(row.right, -1) {
			parts := name.FindStringSubmatch(m[1])
			if parts == nil {
				continue // a keyword, a path
			}
			pkg := parts[1]
			if pkg == "" {
				pkg = "evchan"
			}
			if pkg == "unsafe" {
				continue
			}
			folder, ok := folders[pkg]
			if !ok {
				t.Errorf("docs/libevent.md names %s: the test does not know package %s", m[1], pkg)
				continue
			}
			if packages[pkg] == nil {
				packages[pkg] = declarationsIn(t, folder)
			}
			if !packages[pkg].has(parts[2]) {
				if len(packages[pkg].names) == 0 && strings.HasPrefix(folder, std) {
					t.Logf("%s is not checked: there is no source of Go's own packages", m[1])
					continue
				}
				t.Errorf("docs/libevent.md names %s, which does not exist", m[1])
			}
			checked++
		}
	}
	if checked < 200 {
		t.Errorf("checked %d names", checked)
	}
}

// declarations are the names of a package: Name, and Type.name for methods and fields.
type declarations struct {
	names    map[string]bool
	embedded map[string][]string // by type, the types of the same package that it embeds
}

func (d *declarations) has(name string) bool {
	if d.names[name] {
		return true
	}
	typ, member, ok := strings.Cut(name, ".")
	if ok {
		for _, e := range d.embedded[typ] {
			if d.has(e + "." + member) {
				return true
			}
		}
	}
	return false
}

func declarationsIn(t *testing.T, folder string) *declarations {
	d := &declarations{names: make(map[string]bool), embedded: make(map[string][]string)}
	files, err := filepath.Glob(filepath.Join(folder, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
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
				d.names[prefix+decl.Name.Name] = true
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					switch spec := spec.(type) {
					case *ast.ValueSpec:
						for _, n := range spec.Names {
							d.names[n.Name] = true
						}
					case *ast.TypeSpec:
						d.names[spec.Name.Name] = true
						for _, field := range members(spec.Type) {
							for _, n := range field.Names {
								d.names[spec.Name.Name+"."+n.Name] = true
							}
							if len(field.Names) == 0 {
								e := field.Type
								if p, ok := e.(*ast.StarExpr); ok {
									e = p.X
								}
								if id, ok := e.(*ast.Ident); ok {
									d.embedded[spec.Name.Name] = append(d.embedded[spec.Name.Name], id.Name)
								}
							}
						}
					}
				}
			}
		}
	}
	return d
}
