// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evframe

import (
	"bytes"
	"errors"

	"github.com/evchan/evchan"
)

// Lines is a layer that makes a [Line] of each line that a stream sends. One Lines serves any
// number of streams: put it into the Layer field of a ListenConfig, or give it to SetLayer. The
// zero value is ready for use. See the package's comment for what it does with the stream's
// other messages.
type Lines struct {
	// EOL says what ends a line. The zero value is LF or CR LF. With AnyEOL, empty lines are
	// lost.
	EOL evchan.EOL

	// Limit is how many bytes a line may have, without its end. 0 means 64 KiB. If negative,
	// there is no limit, and a peer can make the stream hold all memory.
	Limit int

	// Step says that after each line, the input is left as it is until Again of the stream is
	// called. The receiver may take the layer away instead, by SetLayer(nil): then Input has what
	// follows the line.
	Step bool
}

// Next is the method of [evchan.Layer]. It gives each stream a layer of its own.
func (c Lines) Next(src evchan.Source, ev evchan.Event) evchan.Event {
	return install(&lineParser{eol: c.EOL, limit: limitOf(c.Limit)}, c.Step, src, ev)
}

var errLineEnd = errors.New("evframe: there is a line end in the line")

// AppendLine appends line and its end to dst, and returns that. The end is CR LF for CRLF, a zero
// byte for NUL, and LF for the others. If line itself has a line end in it, the peer would take
// it for several lines. Then AppendLine returns dst and an error. If line is longer than Limit, it
// returns dst and ErrTooLong.
func (c Lines) AppendLine(dst, line []byte) ([]byte, error) {
	if len(line) > limitOf(c.Limit) {
		return dst, ErrTooLong
	}
	end, bad := "\n", "\n"
	switch c.EOL {
	case evchan.NUL:
		end, bad = "\x00", "\x00"
	case evchan.CRLF:
		// A lone LF or CR is no end for Lines, but it is for others.
		end, bad = "\r\n", "\r\n"
	case evchan.AnyEOL:
		bad = "\r\n"
	}
	if bytes.ContainsAny(line, bad) || c.EOL == evchan.LFOrCRLF && bytes.HasSuffix(line, []byte("\r")) {
		return dst, errLineEnd
	}
	return append(append(dst, line...), end...), nil
}

// A lineParser makes the lines of one stream.
type lineParser struct {
	eol   evchan.EOL
	limit int
	from  int // no line end begins before this position of the input
}

func (p *lineParser) next(in *evchan.Buffer) (evchan.Event, int, error) {
	for {
		at, size := in.IndexEOL(p.from, p.eol)
		if size == 0 {
			// The last byte may be the CR of a CR LF.
			n := in.Len()
			if n > p.limit+1 || n > p.limit && (p.eol == evchan.LF || p.eol == evchan.NUL) {
				return nil, 0, ErrTooLong
			}
			p.from = max(n-1, 0)
			return nil, min(2*n+1, p.limit+2), nil
		}
		p.from = 0
		switch {
		case at > p.limit:
			return nil, 0, ErrTooLong
		case at == 0 && p.eol == evchan.AnyEOL: // the rest of a line end that came in pieces
			in.Discard(size)
			continue
		}
		m := takeLine(in, at)
		in.Discard(size)
		return m, 0, nil
	}
}

func (p *lineParser) skipHead(*evchan.Buffer) {}
