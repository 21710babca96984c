// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

/*
Package evchan is an event loop: what happens to connections, timers and signals
arrives as typed messages on a Go channel, and connections are buffered streams that
implement io.Reader and io.Writer and never block.

A program ranges over the messages, or receives them in a select. It registers no
callbacks, and starts no goroutine for each connection. This is a complete echo
server:

	loop, err := evchan.New(nil)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := loop.Listen("tcp", "127.0.0.1:7000", nil); err != nil {
		log.Fatal(err)
	}
	for ev := range loop.Events() {
		switch ev := ev.(type) {
		case evchan.Readable: // bytes have arrived
			io.Copy(ev.Stream, ev.Stream)
		case evchan.EOF: // the client has finished sending
			ev.Stream.Close()
		}
	}

One goroutine can serve many thousand connections in this way. It receives their
messages one after the other, so what they share needs no lock. For a few connections,
or where each request takes much work, package net with a goroutine for each
connection is simpler. The model is that of libevent, the C library, redesigned for
Go.

The file docs/guide.md is a tour in fourteen steps, and docs/libevent.md says what to
write for each function of libevent.

# Loops and events

A [Loop] has sources. A source is whatever can send messages:

  - a [Stream]: a connection, or an end of a pipe
  - a [Listener], which accepts connections
  - a [PacketConn], for datagrams
  - a [Watch], of a descriptor that your program reads and writes by itself
  - a [Timer]
  - a [SignalWatch], of a signal that is sent to the process
  - a [Trigger], which your program fires from any goroutine
  - a [Mailbox], into which any goroutine posts messages of your own

A message is an [Event]. Each kind is a type of its own, such as [Readable] or [Tick],
and holds a pointer to its source and no data; messages of your own hold what you like. Ask the source for the data:
Stream.Read returns the bytes, Timer.Take how often the timer has expired.

The loop works in turns. In each turn it asks the kernel what is ready, and waits if
nothing is. When something has happened to a source, the loop puts the source into its
queue: once, however much happens. When the source is first in the queue, the loop
asks it for its next message. So the messages of a source are put together: one
Readable stands for all bytes that have arrived, and one Tick for all expiries that
you were too late for. Nothing is dropped, and memory is bounded by the number of
sources. Only a [Mailbox] has as many messages as were posted, up to its limit.

There are four ways to receive messages:

  - [Loop.All] is an iterator. It runs the loop on the goroutine that ranges over it.
    It is the fastest.
  - [Loop.Events] returns a channel, for a select or for several receivers. The loop
    runs on a goroutine of its own.
  - [Loop.Batches] returns a channel too. Each value that you receive from it stands
    for many messages. While you range over it, the loop runs on your goroutine, nearly
    as fast as with All.
  - [Loop.Poll] returns one message.

[Loop.Done] returns a channel that is closed when the loop is, for a select in other
goroutines.

What you receive is true at the moment at which you receive it:

  - Once Close, Disarm, Stop or Take has returned, you receive no message that the
    source sent before, even if one was waiting.
  - A message that has stopped being true is taken back: Readable, for example, when
    the input has been consumed.
  - A more urgent source overtakes a message that waits to be received.
    Config.Priorities sets how many lanes there are, and SetPriority puts a source
    into one. As long as lane 0 has messages, lane 1 waits.

Notify sends the messages of one source to a channel of your own.

# Streams

There are several ways to get a stream. A [Listener] accepts one, and [Loop.Dial]
connects one. [Loop.Wrap], [Loop.WrapFD] and [Loop.WrapFile] make one of a connection,
a descriptor or a file that you have. [Loop.Pipe] makes two that are connected in
memory. With the network "memory", Listen and Dial connect loops and goroutines of one
process, without the kernel. What [ListenConfig], [DialConfig] and [StreamConfig] set, such as Data, Notify
and limits, holds before the first message.

The loop reads what arrives and sends [Readable]. [Stream.Read], [Stream.WriteTo] and
[Stream.Input] take the bytes from there and never block. [EOF] says that the peer has
finished sending; you can still write. [Closed] says that the connection has failed;
[Stream.Err] tells why.

Readable comes for new bytes, and again when a call has consumed some of the input and
has left some. So all of these are right:

  - to read one line for each message,
  - to read until no full line is left, which is faster,
  - to leave an incomplete line and wait: a call that consumes nothing brings no
    message, and the rest of the line brings one.

[Stream.Write] sends at once what the kernel takes. It queues the rest, which the loop
sends later; [Drained] says when all of it is sent. [Stream.OutputFull] says whether
Write would take nothing now. To build a reply piece by piece, write to
[Stream.Output] and call [Stream.Flush]. Output itself has no limit, and Close does not
send what was not flushed.

A stream can do more:

  - [Stream.SetIdleTimeouts] and [Stream.SetLifetime] bound how long the peer may
    take.
  - [Stream.SetRateLimit] bounds how fast a stream reads and writes, and a [RateGroup]
    how fast several do together.
  - [Stream.SendFile] sends a file without reading it into memory.
  - [Stream.Filter] puts a stream on top of another one that compresses, encrypts or
    otherwise transforms what it carries. Package evtls does so with TLS.
  - [Stream.MoveTo] gives a stream to another loop.
  - [Stream.NetConn] turns a stream into a blocking net.Conn, for crypto/tls, net/http
    and other packages that need one.

# Requests and replies

This server answers each line with a line. It is a skeleton to copy: put the replies
of your protocol in place of bytes.ToUpper. Package evframe, in the folder of that name,
makes messages of lines, and of frames that begin with their length.

	// Give requests to Listen, as the Layer of a ListenConfig.
	var requests = evframe.Lines{Limit: 4 << 10, Step: true}

	func serve(loop *evchan.Loop) {
		for ev := range loop.Events() {
			switch ev := ev.(type) {
			case *evframe.Line:
				reply := append(bytes.ToUpper(ev.Bytes()), '\n')
				ev.Stream().WriteLater(reply)
				ev.Stream().Again() // done: for the next line, because of Step
			case *evframe.Error: // too long, or incomplete at the end: then EOF follows
				if ev.Err == evframe.ErrTooLong {
					ev.Stream().Abort()
				}
			case evchan.EOF: // the client has sent its last request
				ev.Stream.Close() // sends the replies first
			case evchan.TimedOut:
				ev.Stream.Abort()
			}
		}
	}

It is right for all clients:

  - A client may send requests in pieces, or many at once. Replies that are made in one
    turn of the loop are sent together (see [Stream.WriteLater]).
  - A client may send requests and not read the replies. When MaxOutput bytes are
    unsent, no Line is made until they are sent. The input fills meanwhile, and the loop
    stops reading. With Step, a reply is written before the next Line is made, so this is
    exact.
  - A client may finish sending after its last request. It gets all replies. An
    incomplete request at the end is dropped.
  - A request that is longer than the limit ends the connection with a reset. To tell the
    client why, write a line and call Close instead of Abort.

Set ReadIdle and WriteIdle of [ListenConfig] as well: they send TimedOut. A reply by
[Stream.SendFile] does not count against MaxOutput: answer with one file at a time,
while Queued is 0, or one client can make the server open all its descriptors. For
connections that are encrypted or compressed, set Over of [ListenConfig], and nothing else
changes. Package evtls has the one for TLS.

# Messages of your own

A struct that embeds [Custom] is an [Event], by its pointer. So whatever else a program
does arrives in the same range, in the same order, by the same priorities and Notify
channels.

[Loop.Mailbox] returns a source for such messages: any goroutine posts them, and none is
lost or put together with another one. Jobs that take long are done by other goroutines
in this way, which post their results:

	type result struct {
		evchan.Custom
		client *evchan.Stream
		text   string
	}

	results := loop.Mailbox(0)
	...
	go func() { results.Post(&result{client: s, text: work()}) }()
	...
	case *result:
		io.WriteString(ev.client, ev.text)

A [Layer] turns the messages of a source into others: the bytes of a stream into the
requests of a protocol, for example. It is asked for them when they are delivered, so what
is not received is not made, and back-pressure holds. Each source has at most one: give it
to SetLayer, or to the configuration of what makes the source. Packages that speak a
protocol are made of layers.

# Datagrams

[Loop.ListenPacket] returns a [PacketConn], for UDP or a Unix socket. [Packets] says
that datagrams wait. It comes when some have arrived, and again after a read that has
left some. So all of these are right:

  - to read one datagram for each message,
  - to read until [ErrWouldBlock], which is faster,
  - to read a limited number, so that other sources have their turn under a flood.

Reads take what the loop has fetched: on Linux, one system call fetches many.
[PacketConn.WriteBatch] sends many with one.

Datagrams get lost, as on any network: the kernel drops what nobody reads, and a write
that returns ErrWouldBlock has sent nothing. No message tells when to try it again.

# Buffers

A [Buffer] is a queue of bytes in a chain of chunks. Chunks move from one Buffer to
another without copying. Each method says how long a slice that it returns is valid:
most often until the next call.

# Timers

[Loop.After] and [Loop.Every] return a [Timer] that sends a [Tick]. All timers that
expire in one turn of the loop see the same [Loop.Now]. Equal deadlines expire in the
order in which they were started. Any number of timers may run: starting and stopping
one takes constant time, or nearly so if it is due within microseconds.

# Concurrency

All methods of the package are safe for concurrent use, with two exceptions:

  - A stream's Read, WriteTo, Input, Output, Flush, MoveTo and NetConn, and its two
    Buffers, belong to one goroutine at a time: the one that has received the stream's
    most recent message or, before there is one, has made the stream.
  - A Buffer of your own is like a bytes.Buffer: for one goroutine at a time.

No method waits for the receiver of messages. So the receiver may call all of them,
even while it leaves messages unread.

To use several workers, range over Events on one goroutine, and hand each stream over
to a worker with Notify. Give each worker a channel of its own: if they share one, a
worker may get a stream's EOF, and close the stream, while another one still answers
its Readable.

# Back-pressure

If one side is slow, the other one is made to wait, and what lies between is bounded:

  - A stream that holds Config.MaxInput unread bytes (64 KiB by default) stops reading
    until you consume some. The kernel's buffers fill, and then the peer has to wait.
  - A stream that holds Config.MaxOutput unsent bytes (16 MiB by default) takes no
    more: Write returns [ErrFull] and has taken nothing. Drained says when to go on.
  - io.Copy from one stream to another respects both limits. If the destination is
    full, it returns ErrFull and leaves the rest in the source. The source sends
    Readable again when the destination has drained, and its EOF after the rest was
    consumed. So a proxy calls io.Copy at each Readable and needs no more (example Proxy).
  - If you receive slowly, messages wait in the queue, where each source stands at
    most once. Listeners stop accepting.

# Misuse and errors

Errors of the system are a *net.OpError around an *os.SyscallError, as in package net.
[ErrClosed], [ErrWouldBlock], [ErrFull], [ErrFrozen] and [ErrUnsupported] are returned
as they are. Test for all of them with errors.Is.

A size that an int cannot count gives [ErrTooLarge], if it is that of a Buffer, or
ErrFull, if it is that of unsent output.

Closing twice returns nil. After Close, methods that return an error return ErrClosed,
and the others do nothing or return nothing. If another goroutine calls Close during a
Write, the Write takes all of its bytes or none.

A nil argument gives an error, except where a comment says what nil means. Loops and
sources must be made by their constructors. Methods of zero values panic or do
nothing; none waits for ever. A zero [Batch] is empty. A zero [Buffer] is empty too,
and works.

A loop is received from in one way at a time: two ranges at once panic.

A panic in the body of a range, or runtime.Goexit, has the effect of break: the loop
can be ranged over again, and must be closed. A panic in a [Filter], or
runtime.Goexit, ends its stream, and the loop goes on.

A release function is called by the call that has released the last byte. If that was
the loop, which has sent it, or a [Filter] that the loop has called, the function is
called after the loop's turn. A panic there reaches

  - the caller of the method, such as Write or Discard, if that has released the byte;
  - with All and Poll, the receiver. All other tasks of the turn are done, and the loop
    can still be used, as after break.
  - with Batches, the receiver as well, if it ranges over a batch;
  - otherwise with Events and Batches, the loop's own goroutine, so it ends the program.

runtime.Goexit ends the same goroutine; if it is the loop's own, another one takes its
place. In all of these cases the other release functions are still called.

A receiver that stops receiving stops no other receiver. What is meant for it waits
until Close.

A descriptor must stay open while it is watched. The system uses its number again at
once, and the loop cannot tell that the number means something else now. [Loop.WrapFD]
and [Loop.Watch] refuse a descriptor that a stream, a listener or a packet connection
of the loop owns; WrapFD also refuses one that is being watched. They do not know what
another loop owns.

# Serving untrusted clients

Some things are bounded by default, whatever a peer does:

  - unread input of a stream: 64 KiB
  - unsent output of a stream: 16 MiB
  - accepted connections that you have not received yet: 128. The kernel's backlog
    holds more.
  - the time in which a closing stream makes no progress: 5 seconds. It keeps its
    descriptor meanwhile. If the peer takes a little now and then, only Lifetime bounds
    the whole.
  - how much is read and sent for one stream, and for all in a turn, before others
    have their turn. So one large download does not delay other messages.
  - silence of a machine that is gone: the kernel's keep-alives begin after 15
    seconds.

How many streams there are, how long they are idle and how long they live is not
bounded by default. A server on the Internet should set these fields of
[ListenConfig]:

  - MaxStreams: less than the process's limit of descriptors. When so many streams are
    open, no more are accepted. The kernel holds Backlog connections, and makes
    clients beyond that wait, or refuses them. One of them is accepted each time a
    stream has ended.
  - ReadIdle, for a peer that sends nothing, and WriteIdle, for a peer that reads
    nothing. When the time has passed, TimedOut comes and the direction is paused.
    Call Abort: Close would wait for the peer again, for Linger at least. Set both:
    a direction that the library has stopped does not time out, so only WriteIdle
    finds a peer that keeps sending and reads no reply.
  - Lifetime, for a peer that sends or reads a byte now and then, which no idle
    timeout finds, and for one that never finishes. After Close as well, it alone
    bounds how long such a peer keeps the stream. The stream ends with Closed. To
    bound a single request, use a [Timer].
  - MaxInput: the length of the longest line, or of the longest message of your
    protocol. When so much is unread, reading stops. Take what is complete from Input.
    If as much as MaxInput is left, call Abort: a full input does not time out and
    would stay for ever. (InputFull does not show this: it counts what has come since,
    too.)
  - MaxOutput: when so much is unsent, Write returns [ErrFull], and io.Copy leaves the
    rest in the input, so that reading stops. The Write that exceeds it is still taken
    whole. All streams together hold up to MaxStreams times MaxInput and MaxOutput,
    and one Write more each: with the defaults, 1000 peers that ask for much and read
    nothing cost 16 GB. 256 KiB is enough for most servers.
  - RateLimit and RateGroup, for clients that take too much bandwidth.

And in the range:

  - EOF: the stream stays open for your reply. Close it, or it holds its descriptor
    until its Lifetime is over or the process ends.
  - AcceptFailed: most likely no descriptors are left, so MaxStreams was too high. The
    listener tries again by itself.
  - Closed: Err tells why. Everything is released, and you need not call Close. Closed
    does not come after your own Close or Abort: if something has to be done at the
    end, do it there.

These limits do not hold for everything:

  - A net.Conn that [Stream.NetConn] has made has none of them, nor has what a
    net.Listener of [Listener.NetListener] accepts: use their deadlines.
  - A stream that [Stream.Filter] has made has the idle timeouts of the stream below
    it and ends with the lifetime of that, but its MaxInput and MaxOutput are those of
    the StreamConfig that Filter was given. Its output is counted with what lies in
    the filter and in the streams below.

ExampleListenConfig, in example_test.go, is a server that sets most of them.

# Closing

[Stream.Close] returns at once. After that, the loop

 1. sends what was written,
 2. tells the peer that nothing more will be sent,
 3. discards what the peer still sends, until the peer has finished too,
 4. closes the socket.

What lies in Output and was not flushed is not sent. [Stream.Abort] closes the socket at
once.

Config.Linger, by default 5 seconds, bounds the time without progress. It begins again
when the kernel has taken some of the output, and when the peer has acknowledged some
(where the system tells that, see Portability). So a peer that reads slowly gets
everything, and one that takes nothing holds the stream for 5 seconds.
[Stream.SetLifetime] bounds the whole.

A stream that has to drop output ends with a reset, so that the peer does not take what
it has for all. To know how a stream has ended:

  - [Stream.Done] returns a channel that is closed once all of the stream is released,
    however it has ended.
  - [Stream.Lost] then says how many bytes were written and not handed to the kernel. It
    cannot count what the kernel had and the peer did not take.
  - [Stream.Err] says why, also if output was lost after Close.

[Loop.Close] waits for nothing. [Loop.Shutdown]

 1. closes all listeners; nothing new is accepted,
 2. closes all streams, those too that are connected or wrapped meanwhile,
 3. waits until their output is sent and the peers' systems have acknowledged it,
 4. closes the loop.

It does not wait for peers that have nothing more to receive, so idle ones do not delay
it. It returns nil if no output was lost. Otherwise it returns an error, which is that of
its context if that has ended first.

Shutdown does not know which requests your program still works on. To answer those first,

 1. call [Listener.Close], so that no more connections are accepted,
 2. take no more requests, and answer those that are under way,
 3. call Shutdown, which sends the replies.

Example_gracefulShutdown, in example_test.go, does this.

# Testing

A program can be tested in a bubble of testing/synctest, in virtual time: with
Config.Method "memory", and the network "memory" for all connections. Time passes when
all goroutines of the bubble wait, so that an hour with its timeouts takes
milliseconds, and tests can compare times exactly. A client need be no loop: Dial and
NetConn make a net.Conn, Listen and NetListener a net.Listener. TestChatForAnHour, in
example_memory_test.go, does this. Close the loop before the bubble ends. Bubbles that
run at the same time share the names of listeners: listen on "", which chooses one, or
use different names.

With other methods a loop waits in the kernel. A bubble does not notice such a wait: the
time of the bubble stands still, and the test hangs.

# Looking inside

[Loop.Stats] and [Loop.Dump] show what a loop has done and what it has. [Loop.Observe] tells
of each message: how long its source has waited in the queue, and how long the receiver took.
While a program is traced with runtime/trace, each turn is a region "evchan turn". With All
and Batches, each message is one as well, "evchan Readable" for example.

If the environment variable EVCHAN_DEBUG is 1 when New is called, the loop looks for probable
mistakes, and writes them to the log of package log and to [Observer].Found:

  - slow: with All and Batches, a receiver that takes longer than 100 ms for a message, with
    its stack. EVCHAN_DEBUG=20ms sets another time.
  - unread: with All and Batches, a stream whose input is full, and has been since a message
    was handled, for 10 times as long. Nobody reads it, so no more messages come.
  - unclosed: a stream that has told of EOF, and is still open when its loop is closed.
  - unflushed: Close or Abort of a stream drops what lies in Output.
  - shared: one goroutine closes a stream, and another has called Output and not Flush.

This costs several microseconds a message. It is for tests and for a short look.

# Portability

The method of a loop is how it asks the kernel what is ready: epoll on Linux, kqueue
on macOS and the BSDs, poll on every Unix, afd on Windows. [Methods] lists what there
is. Config or the environment variables EVCHAN_METHOD and EVCHAN_AVOID choose one.

The method memory is everywhere, and on js, wasip1 and Plan 9 it is the only one. It
asks no kernel, so its loop has no sockets, files or other descriptors: what needs one
returns ErrUnsupported. Timers, triggers, pipes, filters and the network memory work.
Elsewhere New chooses it only if Config.Method says so.

With kqueue, the goroutine that waits occupies a thread; with epoll it does not. Only
poll can watch files on disk. On macOS, kqueue does not notice that the last writer of
a named pipe has gone, and may refuse terminals. The code for kqueue is tested on a
model of the kernel's queue; it has never run on a kernel of macOS or a BSD.

With epoll, at most 100 loops can watch one open file or accept from one listening
socket (the limit of the kernel for nested epoll sets). Beyond that, Arm, WrapListener
and the like return EINVAL. With poll there is no such limit. Listeners with
ListenConfig.ReusePort have a socket each.

Only Linux, macOS, FreeBSD and NetBSD tell how much output a peer has acknowledged. On
other systems, what the kernel has taken counts as progress for Linger and nothing
else does, and Shutdown waits for idle peers as long as Linger says.

The package does not promise in which order it delivers different sources that become
ready at the same time, nor how the bytes that a peer has sent are divided between
Readables.

# Windows

The method afd asks the driver of all sockets, through a completion port of the loop's
own. A message costs one system call for its socket, whatever the number of sockets.
It has been tested under Wine 8.0, not on Windows.

Only sockets can be watched or be streams. For pipes, files and consoles, Watch,
WatchConn, WrapFD and WrapFile return ErrUnsupported. Where the package says
descriptor, a handle of a socket is meant: [Watch.FD] returns one.

Wrap takes over a connection of package net with a second handle of its socket. The
socket belongs to the runtime's completion port for as long as it lives. That matters
only for NetConn and NetListener, which have to take it from there. Wine 8.0 cannot do
that: they return the system's error, and the stream or listener is as it was.

For errors.Is, an error of a socket is both Windows' own, such as WSAECONNRESET, and
the one that package syscall has on every system, such as ECONNRESET.

Waits are counted in milliseconds, and the system's clock may tick less often than
that: a [Tick] can be some 16 ms late, never early.

Other differences:

  - ListenConfig.ReusePort gives ErrUnsupported. Backlog and DeferAccept have no
    effect.
  - SendFile reads the file into memory, piece by piece.
  - The signals are os.Interrupt, for Ctrl-C and Ctrl-Break, and SIGTERM, for the end
    of the console.
  - Unix sockets are there if package net has them.
*/
package evchan
