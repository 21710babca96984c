// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// An Event is one message of a loop: a value of one of the types below. Each of them
// holds one pointer and no data of its own. Ask the source for the data: it is up to date
// however late you ask.
//
// A type that embeds [Custom] is an Event as well, by its pointer. So other packages, and you,
// add messages; there is no other way to make one.
type Event interface {
	// Source returns what sent the message.
	Source() Source

	// String describes the message for people to read: its type, and its source. It
	// changes nothing.
	String() string

	// kind returns the number of the type, for Stats. It also keeps other types out.
	kind() eventKind
}

// Accepted says that a listener has accepted a connection. Stream is the new stream,
// which the loop already reads from; [Stream.Listener] returns the listener. The stream has
// inherited the listener's priority and its Notify channel.
type Accepted struct{ Stream *Stream }

// Connected says that a stream that Dial has made is connected.
type Connected struct{ Stream *Stream }

// Readable says that a stream has input to be read, at least as much as its low mark (see
// [Stream.SetReadMarks]): by default one byte. It is sent
//
//   - for new bytes;
//   - again when a call has consumed some of the input and at least the low mark is left;
//   - for what was left unread, after Resume and MoveTo, and when the destination that
//     WriteTo had found full has drained.
//
// So it is right to read one line for each message, and faster to read as many as there
// are. If what is left is an incomplete line, leave it in the input, or put it back: the
// next Readable comes with more bytes.
//
// A Readable that was not received is taken back when the input is consumed to below the
// low mark. One that was sent again is also taken back when bytes are put back into the
// input. It is not sent again after EOF was received, nor while WriteTo waits for its
// destination.
type Readable struct{ Stream *Stream }

// Drained says that a stream's output has fallen to its write low mark (see
// [Stream.SetWriteMarks]), by default to nothing. It is sent only if some output had to
// wait.
type Drained struct{ Stream *Stream }

// EOF says that the peer has finished sending, and that all it has sent is in the stream's
// input. Writing still works. Close the stream when you are done.
type EOF struct{ Stream *Stream }

// Closed says that a stream has ended and that you did not close it: [Stream.Err] tells
// why. It is the stream's last message. What was received before is still readable;
// everything else is released.
type Closed struct{ Stream *Stream }

// TimedOut says that a stream has been idle for too long (see [Stream.SetIdleTimeouts]).
// [Stream.TimedOut] tells in which directions. These are paused until Resume.
type TimedOut struct{ Stream *Stream }

// Packets says that datagrams, or an error of the socket, wait to be read from a packet
// connection. It is sent when some have come, and again after a read that has left some. So
// it is right to read one for each message, and faster to read until ErrWouldBlock.
type Packets struct{ Conn *PacketConn }

// AcceptFailed says that a listener could not accept a connection, for example because
// no descriptors are left: [Listener.Err] tells why. It is sent once for several failures in a
// row. The listener waits a while and tries again by itself.
type AcceptFailed struct{ Listener *Listener }

// Ready says that something has happened to a watched descriptor, or that the time limit of
// the watch has passed: [Watch.Take] tells which.
type Ready struct{ Watch *Watch }

// Tick says that a timer has expired: [Timer.Take] returns how many times.
type Tick struct{ Timer *Timer }

// Signaled says that the process was sent a signal: [SignalWatch.Take] returns how many
// times.
type Signaled struct{ Signal *SignalWatch }

// Fired says that a trigger was fired: [Trigger.Take] returns how many times.
type Fired struct{ Trigger *Trigger }

// Moved is the first message of a stream on the loop that MoveTo has given it to. It comes
// instead of Accepted, if that was not received.
type Moved struct{ Stream *Stream }

// Stopping tells the [Layer] of a stream that Shutdown was called: finish what is under way,
// and then close the stream. Shutdown waits for that, as long as its context lets it. A stream
// without a layer is closed by Shutdown itself, and sends no Stopping.
type Stopping struct{ Stream *Stream }

// An eventKind numbers the types of Event.
type eventKind uint8

const (
	kindAccepted eventKind = iota
	kindConnected
	kindReadable
	kindDrained
	kindTimedOut
	kindEOF
	kindClosed
	kindPackets
	kindAcceptFailed
	kindReady
	kindTick
	kindSignaled
	kindFired
	kindMoved
	kindStopping
	kindCustom // all types that embed Custom
	kinds      // how many there are
)

// kindNames has the names of the types, by kind.
var kindNames = [kinds]string{
	"Accepted", "Connected", "Readable", "Drained", "TimedOut", "EOF", "Closed",
	"Packets", "AcceptFailed", "Ready", "Tick", "Signaled", "Fired",
	"Moved", "Stopping", "Custom",
}

func (Accepted) kind() eventKind     { return kindAccepted }
func (Connected) kind() eventKind    { return kindConnected }
func (Readable) kind() eventKind     { return kindReadable }
func (Drained) kind() eventKind      { return kindDrained }
func (TimedOut) kind() eventKind     { return kindTimedOut }
func (EOF) kind() eventKind          { return kindEOF }
func (Closed) kind() eventKind       { return kindClosed }
func (Packets) kind() eventKind      { return kindPackets }
func (AcceptFailed) kind() eventKind { return kindAcceptFailed }
func (Ready) kind() eventKind        { return kindReady }
func (Tick) kind() eventKind         { return kindTick }
func (Signaled) kind() eventKind     { return kindSignaled }
func (Fired) kind() eventKind        { return kindFired }
func (Moved) kind() eventKind        { return kindMoved }
func (Stopping) kind() eventKind     { return kindStopping }

// Source returns the new stream.
func (e Accepted) Source() Source { return e.Stream }

// Source returns the stream.
func (e Connected) Source() Source { return e.Stream }

// Source returns the stream.
func (e Readable) Source() Source { return e.Stream }

// Source returns the stream.
func (e Drained) Source() Source { return e.Stream }

// Source returns the stream.
func (e TimedOut) Source() Source { return e.Stream }

// Source returns the stream.
func (e EOF) Source() Source { return e.Stream }

// Source returns the stream.
func (e Closed) Source() Source { return e.Stream }

// Source returns the stream.
func (e Moved) Source() Source { return e.Stream }

// Source returns the stream.
func (e Stopping) Source() Source { return e.Stream }

// Source returns the packet connection.
func (e Packets) Source() Source { return e.Conn }

// Source returns the listener.
func (e AcceptFailed) Source() Source { return e.Listener }

// Source returns the watch.
func (e Ready) Source() Source { return e.Watch }

// Source returns the timer.
func (e Tick) Source() Source { return e.Timer }

// Source returns the signal watch.
func (e Signaled) Source() Source { return e.Signal }

// Source returns the trigger.
func (e Fired) Source() Source { return e.Trigger }

// String returns the name of the message and of its stream.
func (e Accepted) String() string { return describe(e) }

// String returns the name of the message and of its stream.
func (e Connected) String() string { return describe(e) }

// String returns the name of the message and of its stream.
func (e Readable) String() string { return describe(e) }

// String returns the name of the message and of its stream.
func (e Drained) String() string { return describe(e) }

// String returns the name of the message and of its stream.
func (e TimedOut) String() string { return describe(e) }

// String returns the name of the message and of its stream.
func (e EOF) String() string { return describe(e) }

// String returns the name of the message and of its stream, with the reason.
func (e Closed) String() string {
	if err := e.Stream.Err(); err != nil {
		return describe(e) + ": " + err.Error()
	}
	return describe(e)
}

// String returns the name of the message and of its stream.
func (e Moved) String() string { return describe(e) }

// String returns the name of the message and of its stream.
func (e Stopping) String() string { return describe(e) }

// String returns the name of the message and of its packet connection.
func (e Packets) String() string { return describe(e) }

// String returns the name of the message and of its listener, with the reason.
func (e AcceptFailed) String() string {
	if err := e.Listener.Err(); err != nil {
		return describe(e) + ": " + err.Error()
	}
	return describe(e)
}

// String returns the name of the message and of its watch.
func (e Ready) String() string { return describe(e) }

// String returns the name of the message and of its timer.
func (e Tick) String() string { return describe(e) }

// String returns the name of the message and of its signal.
func (e Signaled) String() string { return describe(e) }

// String returns the name of the message and of its trigger.
func (e Fired) String() string { return describe(e) }

// describe returns the name of e's type and the label of its source.
func describe(e Event) string {
	return kindNames[e.kind()] + " " + e.Source().(owner).label()
}
