// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

/*
Package evhttp is an HTTP/1.1 server and client for package evchan: requests, and the responses to
calls of one's own, arrive as messages in the range over a loop, beside its timers, signals and
everything else. Most of what follows is about the server; see Client for the other side.

This server answers in four ways: at once, later and from another goroutine, by a handler of
net/http that may wait, and by one that does not.

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	srv, err := evhttp.Listen(loop, "tcp", "127.0.0.1:8080", nil)
	if err != nil {
		log.Fatal(err)
	}
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			switch ev.Path() {
			case "/":
				ev.ReplyString(200, "hello\n")
			case "/slow":
				go func() { ev.Reply(200, query(ev.Context())) }()
			case "/api/":
				ev.Go(mux) // on a goroutine of a pool
			default:
				ev.Serve(files) // here and now
			}
		case evchan.Signaled:
			srv.Drain() // finishes what is under way
		case *evhttp.Drained:
			loop.Exit(0)
		}
	}

# Requests

A [Request] comes when its head and its body have arrived. The program answers it once, with
[Request.Reply] or one of the methods like it, now or later, on any goroutine. Fields of the
reply are set before with [Request.Set].

A connection has one request at a time: the next one comes when the one before is answered.
Meanwhile what the client sends behind it stays unread. So a client that sends many requests at
once gets the replies in order, and does not make the server hold much.

A program that never answers a request holds its connection for ever. There is no timeout for
the program.

If the client leaves before its reply, [Gone] comes instead. A client that has only finished
sending, as netcat does, is answered: no reply is lost because an end of input comes first.
(With Config.CancelOnEOF its [Request.Context] ends, as in net/http.)

[Request.Done] tells when a reply has been handed to the system.

# Bodies

By default a Request has all of its body, which is at most Config.MaxBody long: [Request.Body]
returns it. With Config.Streaming the Request comes first, with what has arrived of its body, and
the rest follows as [Body] messages. A client that waits for "100 Continue" gets it once the body
is wanted: by default at once, with Streaming when the Request was received and not answered,
in a handler when that reads.

# Replies in pieces

[Request.Start], Write and Finish send a reply whose length is not known, in chunks. Write
returns evchan.ErrFull when Config.MaxOutput bytes are unsent. [Writable] says when to go on.
[Request.EventStream] is such a reply with server-sent events, [Request.ReplyFile] one of a file,
which is sent without being read into memory.

# Handlers of net/http

There are three ways to have requests answered by an http.Handler:

  - [Request.Go] runs it on a goroutine of a pool. It may wait as with http.Server.
  - [Request.Serve] runs it in the loop. It is the fastest, and for handlers that do not wait.
  - Config.Handler gives all requests to one, on goroutines of the pool, and no Request is sent.
    [Serve] is the same for a net.Listener, as http.Serve.

The http.ResponseWriter is an http.Flusher, http.Hijacker and io.ReaderFrom, and works with
http.ResponseController. What differs from http.Server:

	http.Server                          here
	a goroutine for each connection      one for each request that is under way
	obs-fold, bare LF, SP before colon,  refused with 400: see Strictness
	  Content-Length twice
	HTTP/2                               by net/http, if Config.HTTP2 is set
	http.Request.TLS                     set if Config.TLSState is
	http.CloseNotifier, http.Pusher      no
	ConnState, ConnContext, BaseContext  no; the stream is Request.Stream
	ReadTimeout, WriteTimeout            for each wait, not for the whole: BodyTimeout, WriteTimeout
	Shutdown                             Drain, which does not wait, and Loop.Shutdown
	1xx replies with Expect              100 is sent when the handler reads the body, as there
	replies to HTTP/1.0                  say HTTP/1.1, as RFC 9110 wants it

# Upgrades

[Request.Upgrade] answers 101 and gives the stream of the connection away, with what has arrived
behind the head. [Request.Tunnel] is that for CONNECT, and [Request.Hijack] sends nothing.

A package that has a protocol of its own on top of requests, such as evrpc, uses [Server.Intercept].

# TLS

Config.Listen.Over puts TLS below, with package evtls:

	conf := &evhttp.Config{
		Listen:   &evchan.ListenConfig{Over: evtls.Over(tlsConfig, nil)},
		TLSState: evtls.State,
	}

Config.HTTP2 says how clients that speak HTTP/2 are given to net/http.

# Timeouts

Config has timeouts for the head of a request, for the progress of its body, for that of the reply,
and for idle connections. The first two give 408. None of them is for the program. They cost an idle
connection nothing: the server looks at all of them eight times in IdleTimeout.

# Client

[Client.Do] begins a [Call] and returns at once. Exactly one [Response] follows: whole or, with
Call.Streaming, at its head, and then its body as [Body] messages. If the call has failed,
Response.Err, or Err of the last Body, is a [CallError] with the phase and the reason.

	cl := evhttp.NewClient(loop, nil)
	err := cl.Do(&evhttp.Call{Request: req, Data: job})
	...
	case *evhttp.Response:
		if ev.Err != nil {
			log.Print(ev.Err)
		}
		ev.Call.Data.(*Job).finish(ev.Status, ev.Body.Bytes())

A Client keeps connections, at most ClientConfig.MaxConns for each host, and calls wait for one in
order. There is no goroutine for a call, unless its Request has a Body that may have to be waited for.
With Call.Upload the program writes that in the loop: [Call.Write] returns evchan.ErrFull while the
server takes nothing, and [Writable] says when to go on.

A program that does not receive a Body gets no further one, and its server has to wait when the
buffers are full. [Response.PauseBody] does the same for a program that receives.

[Client.RoundTripper] is for http.Client and what else takes an http.RoundTripper, on other
goroutines than the receiver's.

What differs from http.Client with http.Transport:

	http.Client                              Client
	redirects                                ClientConfig.Redirects; none by default
	HTTP/2, SOCKS, names in Unicode          no; punycode works
	gzip with streaming                      only whole responses and RoundTripper
	httptrace                                Got1xxResponse and Got100Continue
	body of any length                       MaxBody for whole responses
	no timeouts by default                   one for each phase
	any number of connections                256 to one host
	obs-fold, bare LF                        ErrBadResponse: see Strictness
	retries of a request that was not sent   only those that are idempotent (as net/http defines it)
	TE and Content-Length                    TE counts, and the connection is closed after it

Package net looks up names, on goroutines. With a resolver of evdns in ClientConfig.Dial.Names,
that is done in the loop.

# Concurrency

All methods of a Request may be called on any goroutine. Those that answer are safe for
concurrent use: the first one counts. A Request is never used again for another request, so it
is harmless to keep one.

The release functions of a Buffer that is given to ReplyBuffer must not call methods of this
package.

# Serving untrusted clients

Config has a limit for everything, with defaults that are safe on the Internet: see there for the
memory that a connection can hold. The rules of parsing are strict, see below. Files are served
by net/http's http.FileServer, which does not leave its folder.

# Strictness

What servers and proxies understand differently is refused with 400, and the connection is closed:

  - both Content-Length and Transfer-Encoding; either of them twice; a Content-Length that is
    not decimal digits; a Transfer-Encoding other than chunked (501), or in HTTP/1.0
  - lines that end in a bare LF or CR; values on several lines; NUL and other control characters
  - space before a colon, or around the parts of the request line; names that are no token
  - no Host in HTTP/1.1, two, or one with characters that no host has
  - chunk sizes that are not hexadecimal digits; extensions with a bare CR; trailers that would
    change how the message is understood

libevent's evhttp is laxer, and differs in the following:

	                               libevent             here
	space behind the version       taken                400
	raw space in the target        taken                400
	value on several lines         joined               400
	method that is not allowed     501                  405 with Allow
	head too large                 400                  431 or 414
	size of head and body          no limit             Config.MaxHead, MaxBody
*/
package evhttp
