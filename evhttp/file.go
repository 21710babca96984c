// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evhttp

import (
	"io"
	"net/http"
	"os"

	"github.com/evchan/evchan"
)

// ServeFile answers with the file or directory of that name, as http.ServeFile does: with a
// range, conditions, and a listing or index.html for a directory. The file is sent without
// being read into memory. The name is the program's; do not make it of what a client has sent.
// To serve a tree of files, call Serve with an http.FileServer, which is sent in the same way.
//
// To open a file may wait for the disk.
func (r *Request) ServeFile(name string) {
	r.Serve(http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) { http.ServeFile(w, hr, name) }))
}

// ReplyFile answers with the contents of f, with a range and conditions. The Content-Type, unless
// it was set, is that of the name. ReplyFile closes f, when it is sent.
func (r *Request) ReplyFile(f *os.File) {
	r.Serve(http.HandlerFunc(func(w http.ResponseWriter, hr *http.Request) {
		defer f.Close() // what is sent is a duplicate
		info, err := f.Stat()
		if err != nil {
			http.Error(w, "500 Internal Server Error", http.StatusInternalServerError)
			return
		}
		http.ServeContent(w, hr, info.Name(), info.ModTime(), f)
	}))
}

// minSendFile is the length from which on a file is sent by the system. A shorter piece is read:
// that is faster, and bounds the descriptors that a client which pipelines can have opened.
const minSendFile = 16 << 10

// ReadFrom writes what src has. If that is a file, it is sent without being read.
func (w *response) ReadFrom(src io.Reader) (int64, error) {
	if n, ok := w.sendFile(src); ok {
		return n, nil
	}
	q := scratch.Get().(*[]byte)
	p := *q
	if cap(p) < 32<<10 {
		p = make([]byte, 32<<10)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{src}, p[:cap(p)])
	freeScratch(q, p)
	return n, err
}

// sendFile sends what is left of src if that is a large piece of a file, as http.ServeContent
// has it. The result is false if it has done nothing.
func (w *response) sendFile(src io.Reader) (int64, bool) {
	limited, ok := src.(*io.LimitedReader)
	if !ok || limited.N < minSendFile || w.hijacked {
		return 0, false
	}
	f, ok := limited.R.(*os.File)
	if !ok {
		return 0, false
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	fields := &w.r.fields
	if fields.flags&setLength == 0 || fields.length-w.r.written != limited.N || fields.flags&setType == 0 || noBody(w.status) || w.r.head.method == "HEAD" {
		return 0, false
	}
	off, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, false
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size()-off < limited.N {
		return 0, false
	}
	dup, err := duplicate(f)
	if err != nil {
		return 0, false
	}
	if !w.sent && w.start() != nil || w.r.sendFile(dup, off, limited.N) != nil {
		dup.Close()
		return 0, false
	}
	n := limited.N
	limited.N = 0
	return n, true
}

// sendFile sends a piece of f, and closes f, as a part of a reply that is written in pieces.
func (r *Request) sendFile(f *os.File, off, n int64) error {
	c := r.conn
	c.mu.Lock()
	defer c.unlock()
	if r.phase != replying || r.has(flagChunks) {
		return evchan.ErrUnsupported
	}
	if r.has(flagBlocking) {
		if err := r.room(); err != nil {
			return err
		}
	}
	if err := c.s.SendFile(f, off, n, func() { f.Close() }); err != nil {
		return err
	}
	r.written += n
	c.count(int(min(n, 1<<30)))
	return nil
}
