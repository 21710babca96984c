// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

// An Event is one message of a loop: one of the types below, each of which
// holds one pointer and no data of its own. What the message is about is to be
// asked of the source, so that it is up to date however late it is asked.
//
// The set of types is closed: no other package can add to it.
type Event interface {
	// Source returns what sent the message.
	Source() Source

	// String describes the message for people. It changes nothing.
	String() string

	// kind keeps the interface closed, and numbers the types for Stats.
	kind() eventKind
}

// Accepted says that a listener has accepted a connection. Its source is the
// new stream, which is already reading; [Stream.Listener] tells where it came
// in. The stream has inherited the listener's priority and its Notify channel.
type Accepted struct{ Stream *Stream }

// Connected says that a stream that was made by Dial is connected.
type Connected struct{ Stream *Stream }

// Readable says that a stream's input has grown, and is now at its low mark or
// more. It is sent for new bytes; for bytes that were left unread only after Resume and
// MoveTo, and when the output has drained that WriteTo found full.
type Readable struct{ Stream *Stream }

// Drained says that a stream's output, of which some had been left queued, has
// fallen to its write low mark, by default to nothing.
type Drained struct{ Stream *Stream }

// EOF says that the peer has finished sending: all it sent is in the stream's
// input. Writing still works. Close the stream when done.
type EOF struct{ Stream *Stream }

// Closed says that a stream has ended and that you did not close it:
// [Stream.Err] says why. It is the stream's last message. What was received
// before is still readable; all else is released.
type Closed struct{ Stream *Stream }

// TimedOut says that a stream has been idle too long: [Stream.TimedOut] tells in
// which directions, which are paused until Resume.
type TimedOut struct{ Stream *Stream }

// Packets says that datagrams wait to be read from a packet connection, or an
// error of its socket. It is sent when some have come, and again after a read
// that has left some, so that reading one for each message is right, and reading
// until ErrWouldBlock is faster.
type Packets struct{ Conn *PacketConn }

// AcceptFailed says that a listener could not accept, for want of descriptors,
// say: [Listener.Err] tells. It is sent once for a row of failures. The
// listener waits a while and tries again by itself.
type AcceptFailed struct{ Listener *Listener }

// Ready says that something has happened to a watched descriptor, or that its
// time limit has passed: [Watch.Take] tells which.
type Ready struct{ Watch *Watch }

// Tick says that a timer has expired: [Timer.Take] tells how many times.
type Tick struct{ Timer *Timer }

// Signaled says that the process was sent a signal: [SignalWatch.Take] tells how
// many times.
type Signaled struct{ Signal *SignalWatch }

// Fired says that a trigger was fired: [Trigger.Take] tells how many times.
type Fired struct{ Trigger *Trigger }

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
	kinds // how many there are
)

// kindNames has the name of each type, by its kind.
var kindNames = [kinds]string{
	"Accepted", "Connected", "Readable", "Drained", "TimedOut", "EOF", "Closed",
	"Packets", "AcceptFailed", "Ready", "Tick", "Signaled", "Fired",
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

// describe returns the name of e's type and what its source calls itself.
func describe(e Event) string {
	return kindNames[e.kind()] + " " + e.Source().(owner).label()
}
