// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Package evtls puts TLS on streams of package evchan. It uses crypto/tls, and each side of a
// connection is a Stream like any other: its messages come in the same range, and an idle one
// has no goroutine.
//
//	ln, err := loop.Listen("tcp", ":7000", &evchan.ListenConfig{Over: evtls.Over(config, nil)})
//	for ev := range loop.All() {
//		switch ev := ev.(type) {
//		case evchan.Accepted: // the handshake is over
//		case evchan.Readable:
//			io.Copy(ev.Stream, ev.Stream)
//		case evchan.EOF: // the peer has sent close_notify
//			ev.Stream.Close()
//		case evchan.Closed:
//			log.Print(ev.Stream.Err())
//		}
//	}
//
// # Making a TLS stream
//
//   - [Over] is for the field Over of evchan.ListenConfig and evchan.DialConfig.
//   - [Dial] connects to a server, and takes the name to verify from the address.
//   - [Server] and [Client] take a stream that exists, which may have spoken plain text before
//     (STARTTLS). What has arrived and was not consumed belongs to the handshake.
//
// The stream below belongs to the loop then; see Stream.Filter.
//
// # Messages
//
// The first message comes when the handshake is over: [evchan.Accepted] for a listener with Over,
// otherwise [evchan.Connected], also for a server. [State] then tells what was agreed on. What
// was written before is sent first.
//
// If the handshake fails, [evchan.Closed] comes instead; Stream.Err is what crypto/tls has
// returned, in a *net.OpError. The peer gets the alert. Of a listener's stream whose handshake
// fails, only Options.Failed tells.
//
// [evchan.EOF] says that the peer has sent close_notify. An end without close_notify may be an
// attacker's: it is [evchan.Closed] with io.ErrUnexpectedEOF. CloseWrite sends close_notify and
// ends the sending half; reading goes on, though many programs answer by closing. Close does so
// too, after sending what was written.
//
// # Handshakes
//
// A handshake computes much, and may ask callbacks of the tls.Config that block. It runs on a
// goroutine, which ends with it. At most twice GOMAXPROCS of these compute at once, so that the
// loop is not held up; one that waits for its peer does not count, nor one that has run for more
// than 20 ms, because a callback of it may be blocking. [Options] has limits of time and number.
//
// The server's goroutine starts when the first record of the client is complete. So a client that
// stays silent costs no more than its stream.
//
// # With net/http
//
// Stream.NetConn of a TLS stream returns a *tls.Conn, which net/http serves HTTP/2 on. There is
// one exception: if input was decrypted that nobody has read, it returns a type that embeds a
// *tls.Conn. To rule that out, make the stream with Paused: evchan.Read in Options.Stream: until
// Resume is called, evtls decrypts nothing that it need not. Before the end of the handshake
// NetConn returns evchan.ErrWouldBlock.
//
// Renegotiation is refused: a client ends with an error if its server asks for it. The other
// limits are those of crypto/tls. Input that was sent early (0-RTT) is not supported.
package evtls
