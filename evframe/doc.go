// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

/*
Package evframe makes lines and frames of what streams of package evchan receive.

A stream carries bytes, and says [evchan.Readable] when some have arrived. Most protocols
send something that has a beginning and an end instead: lines, or frames that begin with
their length. With a layer of this package, each of them arrives as one message, in the same
range as everything else:

	ln, err := loop.Listen("tcp", "127.0.0.1:7000", &evchan.ListenConfig{
		Layer: evframe.Lines{Limit: 4 << 10},
	})
	...
	for ev := range loop.Events() {
		switch ev := ev.(type) {
		case *evframe.Line:
			fmt.Fprintf(ev.Stream(), "you said %q\n", ev.Bytes())
		case *evframe.Error: // a line of more than 4 KiB, or half a line at the end
			ev.Stream().Abort()
		case evchan.EOF: // the client has sent its last line
			ev.Stream.Close()
		}
	}

[Lines] makes a [Line] of each line. [Frames] makes a [Frame] of each frame, whose length has
1 to 8 bytes, in either order, or is a varint. AppendLine, AppendFrame and MoveFrame write
what they read.

# Messages

A message owns its bytes: it may be kept, and given to another goroutine. Up to 1 KiB are
copied, more are moved: then the message shares the memory into which the stream has read.

Readable is not sent any more. All other messages of the stream are passed on, such as
Accepted, Drained and TimedOut. EOF and Closed come after the messages that were complete
before. At Shutdown, the layer closes the stream, as Shutdown does with a stream that has no
layer.

While a stream has a layer, its Input belongs to the layer. SetLayer(nil) gives it back: Input
then has what was not made a message, and Readable says so.

# Limits

A line or frame that is longer than Limit ends the messages of its stream: the receiver gets an
[Error] with [ErrTooLong]. So does an incomplete line or frame at the end, with
io.ErrUnexpectedEOF. Close the stream then. If you do not, the layer drops what the peer
sends, and EOF, Closed or TimedOut come as ever.

Limit may be greater than the MaxInput of the stream. While a message is longer than MaxInput,
the layer raises the high mark of the input (see SetReadMarks) as far as it needs; then it sets
the marks to their defaults. So a stream holds MaxInput or Limit bytes of input, whichever is
more, and what the receiver has not received or has kept.

While the stream's OutputFull is true, no message is made. So a client that sends requests and
does not read the replies is made to wait. Drained comes when it has read them, and then the
next message. Without Step, the layer is ahead of a receiver of Events or Batches by one
message, and by as many as a channel of Notify holds. Then the reply to the last of them may
meet ErrFull. So a server that must not lose a reply uses Step.

# Step

With Step, the layer leaves the input as it is after each message, until the receiver calls
Again of the stream. So each request is answered before the next one is made, also if another
goroutine answers it.

Some protocols change within a connection: STARTTLS begins to encrypt after a line, an HTTP
upgrade begins a different protocol. What follows must not be taken for a line, and with Step
it is not:

	case *evframe.Line:
		s := ev.Stream()
		if string(ev.Bytes()) == "STARTTLS" {
			s.SetLayer(nil)
			... // puts a Filter on top of s, and a layer on top of that
			break
		}
		answer(s, ev.Bytes())
		s.Again()

EOF and Closed wait for Again as well, since they come after what is in the input.
*/
package evframe
