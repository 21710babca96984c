// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Httpupload receives files by HTTP, without holding them in memory, and tells how far each has
// come: a browser that has opened / sees it by server-sent events.
//
//	go run ./examples/httpupload -folder /tmp
//	curl -N http://127.0.0.1:8080/events &
//	curl -T big.iso http://127.0.0.1:8080/
//
// With -demo it uploads something to itself.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"time"

	"github.com/evchan/evchan"
	"github.com/evchan/evchan/evhttp"
)

const page = `<!doctype html><title>uploads</title><ul id=list></ul><script>
new EventSource("/events").onmessage = e => {
	const li = document.createElement("li")
	li.textContent = e.data
	list.append(li)
}
</script>`

// A server is used by the goroutine that receives only.
type server struct {
	folder   string
	watchers map[*evhttp.Request]*evhttp.EventStream
	uploads  map[*upload]bool
}

// An upload is a file that is being received: Data of its request.
type upload struct {
	file *os.File
	name string
	got  int64
	size int64 // -1: not known
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("httpupload: ")
	listen := flag.String("listen", "127.0.0.1:8080", "listen on `address`")
	folder := flag.String("folder", os.TempDir(), "put the files into `folder`")
	demo := flag.Bool("demo", false, "upload something to itself, and end")
	flag.Parse()
	if *demo {
		dir, err := os.MkdirTemp("", "httpupload")
		if err != nil {
			log.Fatal(err)
		}
		defer os.RemoveAll(dir)
		*listen, *folder = "127.0.0.1:0", dir
	}

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	srv, err := evhttp.Listen(loop, "tcp", *listen, &evhttp.Config{Streaming: true})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Signal(os.Interrupt); err != nil {
		log.Fatal(err)
	}
	url := "http://" + srv.Listeners()[0].Addr().String()
	fmt.Println("serving", url)
	if *demo {
		go func() {
			req, _ := http.NewRequest("PUT", url+"/zeros", bytes.NewReader(make([]byte, 5_000_000)))
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				log.Fatal(err)
			}
			resp.Body.Close()
			fmt.Println("the client got", resp.Status)
			srv.Drain()
		}()
	}
	loop.Every(time.Second)

	s := &server{*folder, make(map[*evhttp.Request]*evhttp.EventStream), make(map[*upload]bool)}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			s.request(ev)
		case *evhttp.Body:
			s.receive(ev.Request, &ev.Data, ev.Last)
		case *evhttp.Gone:
			s.gone(ev.Request)
		case evchan.Tick:
			for u := range s.uploads {
				s.tell(fmt.Sprintf("%s: %d of %d bytes", u.name, u.got, u.size))
			}
		case evchan.Signaled:
			srv.Drain()
			for _, w := range s.watchers {
				w.Close()
			}
		case *evhttp.Drained:
			loop.Exit(0)
		}
	}
	if err := loop.Err(); err != nil {
		log.Fatal(err)
	}
}

func (s *server) request(r *evhttp.Request) {
	switch {
	case r.Path() == "/events":
		if es, err := r.EventStream(); err == nil {
			s.watchers[r] = es
		}
	case r.Path() == "/" && r.Method() == "GET":
		r.Set("Content-Type", "text/html; charset=utf-8")
		r.ReplyString(200, page)
	case r.Allow("PUT", "POST"):
		name := path.Base(path.Clean("/" + r.Path()))
		if name == "/" || !filepath.IsLocal(name) {
			r.Error(400)
			return
		}
		file, err := os.OpenFile(filepath.Join(s.folder, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, os.ErrExist) {
			r.Error(409)
			return
		}
		if err != nil {
			log.Print(err)
			r.Error(500)
			return
		}
		u := &upload{file: file, name: name, size: r.ContentLength()}
		s.uploads[u] = true
		r.Data = u
		s.receive(r, r.Body(), r.Complete())
	}
}

// receive writes what has come to the file.
func (s *server) receive(r *evhttp.Request, data *evchan.Buffer, last bool) {
	u, ok := r.Data.(*upload)
	if !ok {
		return // refused; the server drops the rest
	}
	n, err := data.WriteTo(u.file)
	u.got += n
	switch {
	case err != nil:
		log.Print(err)
		s.end(r, u)
		os.Remove(u.file.Name())
		r.Error(507)
	case last:
		s.end(r, u)
		s.tell(fmt.Sprintf("%s: all of its %d bytes", u.name, u.got))
		r.ReplyString(201, "thank you\n")
	}
}

// gone forgets a client that has left.
func (s *server) gone(r *evhttp.Request) {
	delete(s.watchers, r)
	if u, ok := r.Data.(*upload); ok {
		s.end(r, u)
		os.Remove(u.file.Name())
		s.tell(u.name + ": cut off")
	}
}

func (s *server) end(r *evhttp.Request, u *upload) {
	u.file.Close()
	delete(s.uploads, u)
	r.Data = nil
}

// tell prints a line, and sends it to all who watch. One that is slow misses some.
func (s *server) tell(line string) {
	fmt.Println(line)
	for _, w := range s.watchers {
		w.Send(evhttp.SSE{Data: line})
	}
}
