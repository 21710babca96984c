// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Evrpcgen reads libevent's .rpc files and writes the structures in them as Go structs for
// package evtag. libevent's event_rpcgen.py makes C code of the same files, so
// a C program and a Go program can share one source.
//
//	go run github.com/evchan/evchan/evrpc/evrpcgen -package main -o messages.go messages.rpc
//
// Several files make one package; a structure may use those of the other files. The
// fields get these types:
//
//	int name = 1;                uint32
//	int64 name = 1;              uint64
//	string name = 1;             string
//	bytes name = 1;              []byte
//	bytes name[24] = 1;          [24]byte
//	struct[other] name = 1;      Other
//	optional TYPE name = 1;      *TYPE; for bytes without a length []byte, where nil means none
//	array TYPE name = 1;         []TYPE; not for bytes
//
// A name like from_name becomes FromName. The length of bytes can be a number, or a
// name that a line like #define SIZE 24 gives a number. Other lines that begin with # are for C and have no
// effect, so what #if excludes is read as well.
//
// What event_rpcgen.py refuses, evrpcgen refuses too: tags that are there twice, arrays of bytes, optional
// arrays. It also refuses what only the C compiler would: names that are there twice, or
// structures that do not exist. It accepts line breaks at more places.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	name := flag.String("package", "main", "the name of the Go package")
	output := flag.String("o", "", "the file to write; standard output if empty")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: evrpcgen [-package NAME] [-o FILE] FILE.rpc...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*name, *output, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "evrpcgen:", err)
		os.Exit(1)
	}
}

// run reads the files and writes what is made of them.
func run(name, output string, files []string) error {
	var all []*structure
	var sources []string
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		parsed, err := parse(file, string(text))
		if err != nil {
			return err
		}
		all = append(all, parsed...)
		sources = append(sources, filepath.Base(file))
	}
	var b bytes.Buffer
	if err := generate(&b, name, strings.Join(sources, ", "), all); err != nil {
		return err
	}
	if output == "" {
		_, err := os.Stdout.Write(b.Bytes())
		return err
	}
	return os.WriteFile(output, b.Bytes(), 0o666)
}
