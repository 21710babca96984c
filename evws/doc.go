// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

/*
Package evws is WebSocket (RFC 6455) for package evchan, server and client: messages arrive in the
range over a loop, beside HTTP requests, timers, signals and everything else.

This server sends to all what one says:

	srv, err := evhttp.Listen(loop, "tcp", "127.0.0.1:8080", nil)
	...
	conns := make(map[*evws.Conn]bool)
	for ev := range loop.All() {
		switch ev := ev.(type) {
		case *evhttp.Request:
			if c, err := evws.Accept(ev, nil); err == nil {
				conns[c] = true
			}
		case *evws.Message:
			m := evws.Prepare(ev.Type, ev.Data)
			for c := range conns {
				c.SendPrepared(m)
			}
		case *evws.Closed:
			delete(conns, ev.Conn)
		}
	}

[Accept] answers a request of an evhttp.Server, [AcceptHTTP] one that a handler of net/http has
got. [Dial] connects to a server, over TLS if the URL begins with wss.

# Messages

  - [Opened] comes first, for a client whose handshake is over.
  - [Message] is a whole message, text or binary, of at most Config.MaxMessage bytes. With
    Config.Parts it is what has arrived of one.
  - [Writable] comes when a peer that was slow has read all, after Send has returned ErrFull.
  - [Pong] answers [Conn.Ping].
  - [Closed] is the last one.

Other messages of the stream are passed on, such as evchan.Moved.

The package answers pings and close frames, puts fragments together and checks that text is UTF-8,
as it arrives: an error ends the connection before the message is complete. A peer that breaks
the rules gets a close frame with the code for that, and Closed says what it did.

# Sending

[Conn.Send] may be called by any goroutine. It sends a message whole, in one frame. Nothing waits: what
the kernel does not take is queued.

[Conn.Begin] sends a message in parts. No other can be sent meanwhile.

[Prepare] makes a message ready for many connections: it is framed once and compressed at most once. The
connections share its memory.

A peer that reads slowly has unsent output. When that is Config.MaxOutput or more, Config.Slow
says what happens to the next message: it is refused, it takes the place of the one that waits, or
the connection ends. Messages of such a peer are not read until it has read what waits for it.

# Closing

[Conn.Close] sends a close frame and waits for the peer's, at most for Config.CloseTimeout. Then Closed
comes. When the peer sends a close frame, it is answered, and Closed comes with its code. The
server then ends the TCP connection, as RFC 6455 wants it.

Loop.Shutdown sends a close frame with GoingAway to all peers, and does not wait for their answers.
Then Closed does not come, nor after Conn.Abort, and Close and Abort of the stream.

# Serving untrusted clients

A page of any site can make a browser connect to a server, and the browser sends the server's
cookies along. So Accept refuses requests whose Origin is a different host than the one that
the request is for. Config.Origins allows more.

A connection holds at most what its stream may hold as input and output, and a message that has
begun to arrive, up to MaxMessage, or twice that if it is compressed. A length in a frame alone
allocates nothing. An idle connection holds no buffers.

Peers that have gone without a word are noticed if Config.PingAfter is set, and those that take
nothing if Config.WriteTimeout is.

# Compression

With Config.Compress, messages are compressed if the peer agrees to it (permessage-deflate, RFC
7692). Both sides then agree that each message is compressed on its own, so that an idle connection
needs no memory for it. This costs some compression for short messages: Config.ContextTakeover
has it back, for at most 40 KiB a connection. A message that is longer
than MaxMessage when it is decompressed ends the connection with TooBig.

Do not compress messages that have both secrets and what an attacker may choose: the length tells
of the secrets.

# Concurrency

All methods may be called by any goroutine. When the connection has ended, those that send return
an error.

# Compared with libevent

	                       libevent's evws        here
	client                 no                     Dial
	pings                  ignored                answered, and sent with PingAfter
	text                   not checked            UTF-8
	limit                  10 MiB a frame         MaxMessage
	compression            no                     Compress
	origin                 not checked            checked
	close frame            sent                   sent, and the answer awaited
	many receivers         a copy for each        Prepare
*/
package evws
