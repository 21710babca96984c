// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The first piece of Go in README.md compiles.
func TestReadmeExample(t *testing.T) {
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("there is no go command to compile the example with: ", err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, code, ok := strings.Cut(string(readme), "```go\n")
	code, _, ok2 := strings.Cut(code, "\n```")
	if !ok || !ok2 {
		t.Fatal("README.md has no Go in it")
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
		"Replace": map[string]string{filepath.Join(root, "readme_example", "main.go"): real},
	})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, overlay, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), goTool, "build", "-overlay", list, "-o", filepath.Join(dir, "example"), "./readme_example")
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
	commands := regexp.MustCompile(`(?m)^    (go .*)$`).FindAllSubmatch(readme, -1)
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
