// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

/*
Package evchan is an event loop that speaks through Go channels.

It is libevent thought through again for Go: readiness, timers, signals and accepted
connections arrive as typed messages, and connections are Streams, whose Buffers
are io.Readers and io.Writers. There are no callbacks. This is a whole echo
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
		case evchan.Readable:
			io.Copy(ev.Stream, ev.Stream)
		case evchan.EOF:
			ev.Stream.Close()
		}
	}

# Loops and events

A [Loop] has sources: a [Stream], a [Listener], a [PacketConn], a [Watch], a
[Timer], a [SignalWatch] or a [Trigger]. What happens to a source makes it stand in the
loop's queue, at most once, however much happens. When its turn comes it is asked
for its next message, an [Event]. So nothing is dropped, and memory is bounded by
the number of sources.

Messages are received in one of four ways, which differ in cost.
[Loop.All] runs the loop on the goroutine that ranges over it. [Loop.Poll] does
that for one message. [Loop.Events] delivers over a channel, for a select, or for
several receivers, and [Loop.Batches] hands over many messages at once.

What you receive is true at the moment at which you receive it. Once Close,
Disarm, Stop or Take has returned, no message of that source is received any more
that was sent before; a message that has stopped being true is taken back; and a
more urgent source (see Config.Priorities) overtakes one that waits to be
received. Priorities are strict: as long as lane 0 has messages, lane 1 waits.

Each source can be sent to a channel of its own by Notify.

# Streams

The loop reads what arrives, and delivers [Readable]; [Stream.Read],
[Stream.WriteTo] and [Stream.Input] take it from there and never block.
[Stream.Write] sends at once what the kernel takes and queues the rest, which the
loop sends; [Drained] tells when it is gone. A stream that holds Config.MaxInput
unread bytes stops reading until some are consumed, and one that holds
Config.MaxOutput unsent bytes refuses more with [ErrFull]. io.Copy from one
stream to another heeds both: it may return ErrFull, and then the source is
Readable again when the destination has drained, and its EOF comes last.

[Stream.SetRateLimit] bounds how fast a stream reads and writes, and a [RateGroup]
how fast several do together. [Stream.Filter] puts a stream on top of another one
that transforms what it carries, [Stream.MoveTo] gives a stream to another loop,
and [Stream.NetConn] makes a blocking net.Conn of it, for crypto/tls, net/http and
whatever else wants one. [Loop.Pipe] connects two streams in memory.

# Datagrams

[Loop.ListenPacket] returns a [PacketConn], for UDP or a Unix socket. [Packets] says
that datagrams wait: once when some have come, and again after a read that has left
some. So a program may read one for each message, or until [ErrWouldBlock], or, so
that others have their turn under a flood, no more than so many. Reads take what the
loop has fetched, on Linux by one system call for many; [PacketConn.WriteBatch] sends
many by one. Datagrams that nobody reads, and those that the kernel does not take, get
lost as on any network: a write that gives ErrWouldBlock has sent nothing, and no
message tells when to try again.

# Buffers

A [Buffer] is a chain of chunks, which moves from one to another without
copying. Its methods say how long the slices that they return are valid: most
often until the next call.

# Timers

[Loop.After] and [Loop.Every] send a [Tick]. All timers that expire in one turn
see one [Loop.Now], and equal deadlines expire in the order in which they were
started. Any number of timers may run: to start and to stop one takes constant
time, or almost that if it is due within microseconds.

# Concurrency

All methods of the package are safe for concurrent use, with one exception: a
stream's Read, WriteTo, Input, Output, Flush, MoveTo and NetConn, and its two
Buffers, belong to one goroutine at a time: the one that has received the stream's
most recent message or, before there is one, has made the stream. A Buffer of your
own is like a bytes.Buffer: for one goroutine at a time.

No method waits for the receiver of messages, so a receiver may call all of them,
with messages unread. With several workers, range over Events on one
goroutine, and hand streams over with Notify, to a channel for each worker. Where
workers share a channel, one may get a stream's EOF, and close it, while another
still answers its Readable.

# Closing

[Stream.Close] returns at once, and then
 1. what was written is sent,
 2. the peer is told that there will be no more,
 3. what the peer still sends is discarded, until it has finished as well,
 4. the socket is closed.

Config.Linger, by default 5 seconds, bounds the whole, even if the peer keeps
reading: see Close for what to do with much output and a slow peer. [Stream.Abort]
skips to the end. [Loop.Close] waits for nothing; [Loop.Shutdown] waits for all
streams.

# Mistakes

Closing twice returns nil. After Close, methods with an error return [ErrClosed],
and the others do nothing or return nothing; Read and Write from other
goroutines do so as soon as Close has returned, and a Write takes all or nothing
until then. All of it may be called within the range.

A nil argument gives an error, except where a comment says what nil means. A loop
and its sources must be made by their constructors: most methods of zero values panic,
and the others do nothing; none waits for ever. A zero [Batch] is empty, and so is a zero
[Buffer], which works.

Two ranges at once panic: a loop has one way to be received from. A panic in the
body of a range, or runtime.Goexit, is as a break: the loop can be ranged over
again, and must be closed. A panic in a [Filter] ends its stream, and the loop goes on;
one in a release function goes on where the last byte was let go. A receiver that
stops receiving stops nobody else, but what is meant for it waits until Close.

A descriptor must stay open while it is watched: numbers are used again at once, and
the loop cannot tell that one means something else by now. [Loop.WrapFD] refuses one
that is being watched, and, as [Loop.Watch] does, one that a stream, a listener or a
packet connection of the loop has. What another loop has they do not know.

# Strangers as peers

Some things are bounded by default, whatever a peer does: how much of a stream's
input lies unread (64 KiB) and of its output unsent (16 MiB), how many connections
wait to be received (128, then the kernel's backlog holds them), and how long a
closing stream takes (5 seconds, during which it keeps its descriptor). Dead
machines are found by the kernel's keep-alives, which begin after 15 seconds.

How many streams there are, how long they are idle and how long they live is not
bounded by default. A server on the Internet should set these, in [ListenConfig]:

  - MaxStreams, below the process's limit of descriptors. When so many are open, no
    more are accepted. The kernel holds Backlog connections, and makes clients beyond
    that wait or refuses them. Each waiting one is accepted when a stream has ended.
  - ReadIdle, for the peer that sends nothing, and WriteIdle, for the one that takes
    nothing. Then TimedOut comes, and the direction is paused. Abort the stream: Close
    would still wait for the peer, as long as Linger says. A direction that the
    library has stopped does not time out. So set both: a peer that reads no replies
    and sends all the more is found by WriteIdle.
  - Lifetime, for the peer that sends or takes a byte now and then, which no idle
    timeout finds, and for the one that never finishes. The stream ends with Closed.
    What a single request may take is for a [Timer] of your own.
  - MaxInput, the longest line, or whatever your protocol has. Then reading
    stops. Take what is complete from Input, and Abort the stream if as much as
    MaxInput is left: it would sit there for ever, for a full input does not time
    out. (InputFull is no such sign: it counts what has come since.)
  - MaxOutput, from which on Write returns [ErrFull], and io.Copy leaves the rest
    in the input, so that reading stops. The Write that exceeds it is still taken
    whole. All streams together hold up to MaxStreams times MaxInput and MaxOutput,
    and a Write more each: with the defaults, 1000 peers that ask for much and read
    nothing cost 16 GB. 256 KiB is enough for most.
  - RateLimit and RateGroup, for the one who asks for more than its share.

And in the range:

  - EOF: the stream stays open, for the reply. One that is never closed costs its
    descriptor for as long as the process lives, or its Lifetime.
  - AcceptFailed: most likely there are no descriptors left. The listener tries again
    by itself; MaxStreams was too high.
  - Closed: Err tells why. All is released, and needs no call. It does not come
    after a Close or Abort of your own: do there what is to be done at the end.

What has become a net.Conn by [Stream.NetConn], and what was never accepted, has none
of these limits: use its deadlines. A stream that [Stream.Filter] has made has the
idle timeouts and ends with the lifetime of the one below, but the MaxInput and
MaxOutput of Config. The example of ListenConfig has a server that sets most of them.

# Portability

The method of asking the kernel is epoll on Linux, kqueue on macOS and the BSDs,
poll on every Unix, and afd on Windows. [Methods] lists what there is, and Config
or the environment variables EVCHAN_METHOD and EVCHAN_AVOID choose. On other
systems New returns ErrUnsupported.

With kqueue the goroutine that waits occupies a thread, with epoll it does not.
Files on disk can be watched with poll only. On macOS, kqueue does not notice
that the last writer of a named pipe has gone, and may refuse terminals. The
code for kqueue is tested on a model of the kernel's queue; it has never run on
a kernel of macOS or a BSD.

It is not promised in which order different sources that become ready at one
time are delivered, nor how the bytes that a peer has sent are divided between
Readables.

# Windows

The method afd asks the driver of all sockets, through a completion port of the
loop's own, so that it is one system call a socket and message, whatever the
number of sockets. It has been tested under Wine 8.0, not on Windows.

Only sockets can be watched or be streams. For pipes, files and consoles, Watch,
WatchConn, WrapFD and WrapFile return ErrUnsupported. A handle is a descriptor
here, and must be a socket's: [Watch.FD] is one.

Wrap takes over a connection of package net with a second handle of its socket,
which belongs to the runtime's completion port for as long as it lives. That
does no harm, but for NetConn and NetListener, which have to take it from there.
Wine 8.0 cannot do that; they return the system's error then, and the stream or
listener is as it was.

Errors of sockets are, to errors.Is, both Windows' own, such as WSAECONNRESET, and
what package syscall calls the same on every system, such as ECONNRESET.

Waits are counted in milliseconds, and the system's clock may tick less often
than that: a [Tick] can be some 16 ms late, never early. ListenConfig's ReusePort
gives ErrUnsupported; Backlog and DeferAccept have no effect. SendFile reads the
file. The signals are os.Interrupt, for Ctrl-C and Ctrl-Break, and SIGTERM, for the
end of the console. Unix sockets are there if package net has them.
*/
package evchan
