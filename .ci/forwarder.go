// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build ignore

// Forwarder writes the library bcryptprimitives.dll, which Go programs need and Wine
// lacks before version 9, to the file that is its argument. The library has no code: its
// only symbol, ProcessPrng, is forwarded to one of advapi32.dll that does the same
// (SystemFunction036, also known as RtlGenRandom).
//
// See "PE Format" and its section on the export directory table, in Microsoft's
// documentation.
package main

import (
	"bytes"
	"encoding/binary"
	"log"
	"os"
)

// Where things are, in the file and in memory. Both are in units of the alignments.
const (
	fileAlign   = 0x200
	memoryAlign = 0x1000
	headerAt    = 0x80 // of the PE signature, after the DOS header
	sectionSize = 0x200
)

type coffHeader struct {
	Machine, Sections     uint16
	Time, Symbols, Count  uint32
	OptionalSize, Charact uint16
}

type optionalHeader struct {
	Magic                             uint16
	LinkerMajor, LinkerMinor          uint8
	Code, Data, Bss, Entry, CodeBase  uint32
	ImageBase                         uint64
	MemoryAlign, FileAlign            uint32
	OS, Image, Subsystem              [2]uint16
	Win32, ImageSize, HeaderSize, Sum uint32
	SubsystemKind, Charact            uint16
	StackReserve, StackCommit         uint64
	HeapReserve, HeapCommit           uint64
	LoaderFlags, DirectoryCount       uint32
	Directories                       [16]struct{ Address, Size uint32 }
}

type sectionHeader struct {
	Name                          [8]byte
	MemorySize, Address, Size, At uint32
	Relocations, Lines            uint32
	RelocationCount, LineCount    uint16
	Charact                       uint32
}

type exportDirectory struct {
	Flags, Time                 uint32
	Major, Minor                uint16
	Name, OrdinalBase           uint32
	Functions, Names            uint32 // how many
	Addresses, Pointers, Orders uint32 // where the tables are
	// The tables, of one element each.
	Address, Pointer uint32
	Order            uint16
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: forwarder file")
	}

	// The export directory, its tables and the strings that they point to. An address
	// that lies within the directory's range is that of a forwarder.
	var d exportDirectory
	size := binary.Size(d)
	var text []byte
	add := func(s string) uint32 {
		at := memoryAlign + size + len(text)
		text = append(append(text, s...), 0)
		return uint32(at)
	}
	tables := uint32(memoryAlign + size - 10)
	d = exportDirectory{
		Name:        add("bcryptprimitives.dll"),
		OrdinalBase: 1,
		Functions:   1,
		Names:       1,
		Addresses:   tables,
		Pointers:    tables + 4,
		Orders:      tables + 8,
		Address:     add("advapi32.SystemFunction036"),
		Pointer:     add("ProcessPrng"),
	}
	exports := append(encode(d), text...)

	optional := optionalHeader{
		Magic:          0x20b, // PE32+
		ImageBase:      0x180000000,
		MemoryAlign:    memoryAlign,
		FileAlign:      fileAlign,
		OS:             [2]uint16{6},
		Subsystem:      [2]uint16{6},
		ImageSize:      2 * memoryAlign,
		HeaderSize:     fileAlign,
		SubsystemKind:  2,     // any will do for a library
		Charact:        0x160, // high entropy, dynamic base, no execution of data
		StackReserve:   1 << 20,
		StackCommit:    1 << 12,
		HeapReserve:    1 << 20,
		HeapCommit:     1 << 12,
		DirectoryCount: 16,
	}
	optional.Directories[0].Address = memoryAlign
	optional.Directories[0].Size = uint32(len(exports))
	coff := coffHeader{
		Machine:      0x8664, // amd64
		Sections:     1,
		OptionalSize: uint16(binary.Size(optional)),
		Charact:      0x2022, // executable, may lie anywhere, library
	}
	section := sectionHeader{
		Name:       [8]byte{'.', 'e', 'd', 'a', 't', 'a'},
		MemorySize: uint32(len(exports)),
		Address:    memoryAlign,
		Size:       sectionSize,
		At:         fileAlign,
		Charact:    0x40000040, // initialized data, readable
	}

	file := make([]byte, fileAlign+sectionSize)
	copy(file, "MZ")
	binary.LittleEndian.PutUint32(file[0x3c:], headerAt)
	head := append([]byte("PE\x00\x00"), encode(coff)...)
	head = append(head, encode(optional)...)
	head = append(head, encode(section)...)
	if headerAt+len(head) > fileAlign || len(exports) > sectionSize {
		log.Fatal("forwarder: BUG: it does not fit")
	}
	copy(file[headerAt:], head)
	copy(file[fileAlign:], exports)
	if err := os.WriteFile(os.Args[1], file, 0o644); err != nil {
		log.Fatal(err)
	}
}

func encode(v any) []byte {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
		log.Fatal(err)
	}
	return b.Bytes()
}
