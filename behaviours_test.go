// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evchan

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// behaviours lists what libevent's own tests check, by subject and number, and under U
// what it has no test for. Each has its tests here, or the reason why it has none.
var behaviours = []struct {
	id, what string
	tests    string // separated by spaces
	none     string
}{
	{"A1", "a reader is told of data, and then of the end", "TestWatch/ReadThenEOF", ""},
	{"A2", "two one-shot readers of one descriptor are both told", "TestWatch/TwoOneShots", ""},
	{"A3", "an empty socket can be written at once", "TestWatch/WriteAtOnce", ""},
	{"A4", "the peer's close wakes a reader and a writer", "TestPoller/PeerCloseIsReadable TestWatchDup/PeerCloses", ""},
	{"A5", "an early close is told as that", "TestPoller/EarlyClose TestPollerTCP TestWatch/EarlyClose", ""},
	{"A6", "a one-shot that has fired leaves the loop empty", "TestWatch/OneShotLeavesTheLoopEmpty", ""},
	{"A7", "an early close is told although input is unread", "TestPoller/EarlyCloseWithUnreadData TestWatch/EarlyClose", ""},
	{"A8", "one-shot watches carry a large payload", "TestWatch/Transfer", ""},
	{"A9", "persistent watches do", "TestWatch/Transfer", ""},
	{"A11", "a reader and a writer of one descriptor are independent", "TestWatch/Independent", ""},
	{"A12", "a one-shot fires once", "TestWatch/OnlyOnce", ""},
	{"A14", "what was stopped before its turn is not received", "TestWatch/Disarmed", ""},
	{"A15", "conditions activated by hand add up to one message", "TestWatch/Activate", ""},
	{"A18", "a callback can ask which event it serves", "", "no callback runs: the message names its source"},
	{"A19", "an event for a signal and for reading is refused", "", "signals and descriptors are watched by different types"},
	{"A20", "a loop that runs cannot be run again", "TestLoopControl/AlreadyRunning", ""},
	{"A21", "absurd descriptors give an error", "TestWatch/Absurd", ""},
	{"A23", "what is pending is told by condition", "TestWatch/Pending", ""},
	{"A25", "each source is visited once", "TestDump", ""},
	{"A29", "many that are ready at once are all reported", "TestPoller/ManyReady TestWatch/ManyReady", ""},
	{"A31", "duplicates of a descriptor, closed and reused", "TestPollerDup TestWatchDup/DupAndReuse", ""},
	{"A32", "a descriptor closed while it is watched", "TestPollerClosedWhileWatched", ""},
	{"A33", "a method can be excluded", "TestConfigChoosesMethod", ""},
	{"A34", "features can be required", "TestConfigChoosesMethod", ""},
	{"A35", "the environment excludes a method, unless it is ignored", "TestConfigChoosesMethod", ""},
	{"A38", "a helper for one-shot events", "", "a Watch without Persist and After are one-shot"},
	{"A39", "a helper's event that never fires is freed with the loop", "", "as A38; what a closed loop leaves is tested of every source"},
	{"A46", "many connections leave no descriptor", "TestRoundsLeaveNothing TestChurn", ""},

	{"B1", "edge-triggered: told once; level-triggered: again", "TestPoller/EdgeOnce TestWatch/Edge TestWatch/Level", ""},
	{"B3", "edge and level on one descriptor", "TestWatch/Mixed", ""},

	{"C1", "a timer expires once, in time", "TestTimer/Once", ""},
	{"C2", "a periodic timer goes on", "TestTimer/Periodic", ""},
	{"C3", "after a stall a periodic timer expires once", "TestTimer/Stalled", ""},
	{"C5", "periods do not drift", "TestTimer/NoDrift", ""},
	{"C7", "equal durations expire in order", "TestTimer/EqualDurationsInOrder", ""},
	{"C8", "the last duration counts", "TestTimer/LastDurationWins", ""},
	{"C9", "a hundred periodic timers of two durations", "TestTimer/HundredPeriodic", ""},
	{"C11", "random starts and stops keep the order", "TestTimerQueueStopKeepsOrder", ""},
	{"C12", "20,000 timers reset and stopped at random all drain", "TestManyTimers TestTimerQueueDrains", ""},
	{"C14", "within a turn the time is the same", "TestLoopControl/Now", ""},
	{"C15", "it can be refreshed", "TestLoopControl/Now", ""},
	{"C18", "the clock never goes back", "", "the clock is package time's, which is monotonic"},

	{"D1", "two sources of one priority alternate", "TestPriority/Alternate", ""},
	{"D3", "the more urgent comes first, if later", "TestPriority/UrgentFirst", ""},
	{"D4", "the less urgent waits as long as there is more urgent", "TestPriority/Strict", ""},
	{"D7", "producers do not delay a timer", "TestPriority/TimerAmongProducers", ""},

	{"E1", "Exit after a while, with a longer timer running", "TestLoopControl/ExitLater TestTimer/ExitLeavesLongTimer", ""},
	{"E2", "of several exits the earliest counts", "TestLoopControl/EarliestExit", ""},
	{"E3", "nothing is delivered after Break", "TestLoopControl/BreakDeliversNothing", ""},
	{"E4", "what is queued is delivered before Exit", "TestLoopControl/ExitDeliversQueue", ""},
	{"E6", "the loop ends when nothing is left", "TestExitOnEmpty/EndsWhenEmpty", ""},
	{"E7", "a poll that may not wait returns at once", "TestLoopControl/PollReturnsAtOnce", ""},
	{"E8", "a loop that stays when empty serves what comes later", "TestLoopControl/StaysWhenEmpty", ""},
	{"E9", "Continue polls before the rest is delivered", "TestLoopControl/Continue", ""},

	{"G1", "a signal comes to the loop", "TestSignal/TwoWatches", ""},
	{"G2", "it does after its watch was closed and made again", "TestSignal/Again", ""},
	{"G3", "two watches of one signal are both told", "TestSignal/TwoWatches", ""},
	{"G5", "a signal's watch times out", "", "it has no time limit of its own: a Timer beside it does that"},
	{"G6", "a watch that is closed with signals unreceived", "TestSignal/ClosedWhileUnreceived", ""},
	{"G9", "a signal that nobody watches is not caught", "TestSignal/Again", ""},
	{"G11", "two loops watch one signal", "TestSignal/TwoLoops", ""},

	{"H1", "timers set by other goroutines wake the loop", "TestTimer/FromOtherGoroutines", ""},
	{"H2", "a delete waits for the running callback", "", "no callback runs; what is received after a call has returned is U1"},
	{"H3", "a delete by another goroutine ends an empty loop", "TestExitOnEmpty/LastOneDeletedElsewhere", ""},
	{"H5", "Exit by another goroutine ends the loop", "TestLoopControl/ExitFromElsewhere", ""},
	{"H7", "freeing a pair releases its locks", "", "no lock can be held by a user; all calls at once are TestCallsReturn"},

	{"I1", "append, drain, move all", "TestBufferAddAndDrain", ""},
	{"I2", "a move splits a chunk", "TestBufferMoveSplitsAChunk", ""},
	{"I3", "empty chunks anywhere", "TestBufferEmptyPieces", ""},
	{"I4", "adding after a commit of a part", "TestBufferWriteAfterPartialCommit", ""},
	{"I5", "prepend, with and without room in front", "TestBufferPrepend", ""},
	{"I6", "prepend a buffer", "TestBufferPrependBuffer", ""},
	{"I7", "prepend to an empty reference", "TestBufferPrependToEmptyReference", ""},
	{"I8", "room that suffices is used", "TestBufferReserveUsesRoom", ""},
	{"I9", "impossible sizes do no damage", "TestBufferImpossibleSizes", ""},
	{"I10", "append to a chunk that is nearly full", "TestBufferAppendAtTheEdge", ""},
	{"I11", "little memory is wasted", "TestBufferWastesLittle", ""},
	{"I12", "a vector of pieces", "TestBufferPiecesStay", ""},
	{"I13", "copy out of any place", "TestBufferCopyTo", ""},
	{"I14", "one slice across chunks", "TestBufferPeek", ""},

	{"J1", "reserved room does not count before the commit", "TestBufferReserveIsInvisible", ""},
	{"J2", "exactly what was committed appears", "TestBufferCommit", ""},
	{"J5", "a commit of more, or of other memory, is refused", "TestBufferBadCommit", ""},
	{"J6", "a peek at several chunks", "TestBufferSegments", ""},
	{"J8", "a position anywhere up to the end", "TestBufferPositions", ""},
	{"J9", "a match across three chunks", "TestBufferSearchAcross", ""},
	{"J10", "a search that goes on", "TestBufferSearchOn", ""},
	{"J11", "a search up to a limit", "TestBufferBoundedSearch", ""},
	{"J12", "a search of nothing", "TestBufferSearchNothing", ""},
	{"J14", "lines that end with any run of CR and LF", "TestBufferReadLine", ""},
	{"J15", "lines that end with LF or CRLF", "TestBufferReadLine", ""},
	{"J16", "lines that end with CRLF only", "TestBufferReadLine", ""},
	{"J17", "lines that end with LF, or with a zero byte", "TestBufferReadLine", ""},
	{"J18", "CR and LF in different chunks", "TestBufferReadLine", ""},
	{"J19", "without an end nothing is taken", "TestBufferReadLine", ""},
	{"J21", "where a line ends, and how", "TestBufferIndexEOL", ""},

	{"K1", "memory that is referred to is not written to", "TestBufferReferenceIsNotWrittenTo", ""},
	{"K2", "it is released once, with its last byte", "TestBufferReleaseOnce", ""},
	{"K4", "buffers that share bytes are independent", "TestBufferShareIndependently", ""},
	{"K5", "a buffer is not added to itself", "TestBufferAddedToItself", ""},
	{"K6", "a part of a file arrives byte for byte", "TestBufferFileIsRead TestBufferFileIsSent TestBufferFileIsWritten", ""},
	{"K7", "a file is released after all uses", "TestBufferFileReleasedAfterAllUses", ""},
	{"K8", "a failed add leaks nothing", "TestBufferFailedAddReleasesNothing", ""},
	{"K9", "a hook hears of what was added and removed", "TestBufferOnChange", ""},
	{"K12", "a frozen front", "TestBufferFrozenFront", ""},
	{"K13", "a frozen back", "TestBufferFrozenBack", ""},

	{"L1", "what is written arrives whole, and Drained comes", "TestStream/ArrivesWhole", ""},
	{"L2", "in memory it does as well", "TestPipe/ArrivesWhole", ""},
	{"L3", "directions are enabled and disabled", "TestStream/OpenBothWays", ""},
	{"L4", "a flush that finishes brings the end", "TestStreamWrite/FinishedFlush", ""},
	{"L5", "read marks", "TestStreamRead/ReadMarks", ""},
	{"L6", "the write low mark", "TestStreamWrite/WriteLowMark", ""},
	{"L7", "marks in memory", "TestPipe/ReadMarks", ""},
	{"L9", "a stream with nothing to send does not spin", "TestStream/NoSpinning TestStreamClose/ClosingRests", ""},
	{"L10", "filters change bytes each way", "TestFilter/Transforms", ""},
	{"L11", "a write inside a filter does not call the filter", "TestFilter/WriteInside", ""},
	{"L14", "a filter that compresses", "TestFilter/Gzip", ""},
	{"L15", "clients connect, receive, and see the end", "TestDial/Connected TestStream/TwoClients", ""},
	{"L16", "a refused connection is told once", "TestDial/Refused", ""},
	{"L18", "idle timeouts of each direction", "TestStreamIdle/IdleRead TestStreamIdle/IdleWrite", ""},
	{"L19", "a direction that is off does not time out", "TestStreamIdle/NoTimeoutWithoutReason", ""},
	{"L21", "reading from a frozen input", "TestStreamRead/FrozenInput", ""},
	{"L23", "connecting by name, and its failures", "TestDial/HostNames TestDescriptorLimit", ""},

	{"M1", "both sides exchange data to the end, over a pipe and over filters", "TestExchange TestLayered", ""},
	{"M2", "what is written before the handshake is over is sent", "TestExchange TestCloseSends", ""},
	{"M3", "an end without close_notify is an error", "TestTruncated", ""}, // no option makes it an end
	{"M4", "a stream over a session that is established", "", "crypto/tls cannot take over a session"},
	{"M5", "a handshake that does not progress times out", "TestHandshakeTimeout", ""},
	{"M6", "the input mark bounds the input, and everything arrives", "TestReadMarks", ""},
	{"M7", "a silent server makes no client spin", "TestSilentServer", ""},
	{"M8", "closing frees the descriptor, or NetConn keeps it", "TestCloseDuringHandshake TestNetConn", ""},

	{"N1", "a tick must be possible", "TestRateLimitChecked", ""},
	{"N2", "a rate must be possible", "TestRateLimitChecked", ""},
	{"N3", "a group keeps to its rate, and shares it", "TestRateLimit/Group", ""},
	{"N4", "a stream keeps to its rate", "TestRateLimit/Stream", ""},
	{"N5", "both limits together", "TestRateLimit/Both", ""},

	{"O1", "ports are chosen; paused listeners keep no loop alive", "TestListener/RandomPorts TestListener/PausedEndsLoop", ""},
	{"O2", "a failure to accept is told once", "TestDescriptorLimit TestAcceptFailedTakenBack", ""},
	{"O3", "a failure that nobody asks about does no harm", "TestDescriptorLimit", ""},
	{"O4", "a listener, or what it has accepted, is closed at once", "TestListener/CloseInRange", ""},
	{"O6", "a listener is paused elsewhere while it accepts", "TestListener/PauseElsewhere", ""},
	{"O7", "Unix paths: no ReusePort, none that is too long", "TestBadInput/UnixReusePort TestBadInput/LongUnixPath", ""},

	{"T13", "a dump can be read by a program", "TestDump", ""},

	{"U1", "what was stopped is not received, queued or not", "TestExact TestRetraction", ""},
	{"U2", "a receiver that does not receive costs nothing", "TestStream/NobodyReceives", ""},
	{"U3", "the more urgent overtakes what is being offered", "TestRetraction", ""},
	{"U4", "each message goes to one of several receivers", "TestExact", ""},
	{"U7", "writes of many goroutines are not mixed", "TestWriteFromMany", ""},
	{"U8", "a write above the mark fails; Drained tells when to go on", "TestStreamWrite/OutputLimit", ""},
	{"U9", "Close sends what is unsent", "TestStreamClose/CloseFlushes TestStreamClose/BothClose TestStreamClose/CloseReadsAndWrites", ""},
	{"U10", "CloseWrite ends the output after its last byte", "TestStreamClose/HalfClose TestStreamClose/EndAfterOutput", ""},
	{"U11", "the second address is tried", "TestDial/SecondAddress", ""},
	{"U12", "a listener without descriptors rests, and recovers", "TestDescriptorLimit", ""},
	{"U13", "an idle loop does nothing", "TestIdleLoop", ""},
	{"U14", "a message costs no memory", "TestNoAllocations", ""},
	{"U15", "a DNS reply in another case is rejected", "", "there is no resolver of its own in this package"},
}

// TestBehaviours checks that the tests of every behaviour exist.
func TestBehaviours(t *testing.T) {
	files, err := filepath.Glob("*_test.go")
	must(t, err)
	above, err := filepath.Glob("*/*_test.go") // of packages on top
	must(t, err)
	files = append(files, above...)
	function := regexp.MustCompile(`(?m)^func (Test\w+)`)
	source := make(map[string]string) // of the files that have a test, by its name
	for _, file := range files {
		src, err := os.ReadFile(file)
		must(t, err)
		for _, m := range function.FindAllStringSubmatch(string(src), -1) {
			source[m[1]] += string(src)
		}
	}
	for _, b := range behaviours {
		if (b.tests == "") == (b.none == "") {
			t.Errorf("%s must have either tests or a reason why not", b.id)
		}
		for _, test := range strings.Fields(b.tests) {
			name, sub, _ := strings.Cut(test, "/")
			switch src := source[name]; {
			case src == "":
				t.Errorf("%s: there is no %s", b.id, name)
			case sub != "" && !regexp.MustCompile(`"`+sub+`["/]`).MatchString(src):
				t.Errorf("%s: there is no %s", b.id, test)
			}
		}
	}
}
