// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

// Package evtag encodes and decodes libevent's tagged messages, the format of evtag_marshal
// and of the code that event_rpcgen.py generates. The bytes are the same as libevent's,
// so a Go program can talk to C programs, and read what they have stored.
//
// # Messages as structs
//
// A struct whose fields have a tag is a message. [Marshal] and [Unmarshal] encode and
// decode it. No compiler is needed; the command evrpcgen writes such structs from
// libevent's .rpc files, so that a C program and a Go program can share one source.
//
//	type Run struct {
//		How   string   `evtag:"1"`
//		Data  []byte   `evtag:"2,optional"`
//		Key   [24]byte `evtag:"3"`
//		Notes []string `evtag:"4"`
//		Count *uint64  `evtag:"5"`
//	}
//
//	msg, err := evtag.Marshal(nil, &run)
//	err = evtag.Unmarshal(msg, &run)
//
// The tag is a number from 0 to 4294967295, decimal or hexadecimal (0x10121). A field
// without one is not part of the message. These are the types that a field can have:
//
//	Go type                       .rpc file           on the wire
//	uint32, int32                 int                 up to 8 nibbles
//	uint64, int64                 int64               up to 16 nibbles
//	string                        string              bytes without a zero byte
//	[]byte                        bytes               bytes
//	[N]byte                       bytes name[N]       exactly N bytes
//	a struct                      struct[name]        a message in the message
//	*T                            optional            an item, or none
//	[]T, []*T                     array               an item for each element
//	Timeval                       (none)              seconds and microseconds
//	time.Duration, time.Time      (none)              as Timeval
//
// T stands for any type in the table that is not itself *T or []T. The format has arrays of bytes
// and times, .rpc files do not. Defined types work as well, so type ID uint32, but not those defined from
// the last three. int32 and int64 are sent as C sends them: as the unsigned integer with the same bits.
//
// A field is required, unless
//
//   - it is a pointer: nil means that the message does not have it;
//   - it is a slice, []byte excepted: the message has as many items as the slice has elements;
//   - its tag says optional, as in `evtag:"2,optional"`. Marshal then leaves the zero value
//     out; of []byte it leaves nil out, not an empty slice. If the zero value must be told from
//     none, use a pointer.
//
// # Messages item by item
//
// A message is a sequence of items. An item is a tag, the length of the payload, and the payload:
//
//   - A tag has 7 bits in each byte, the least significant first. All bytes except the last have the high bit set.
//   - An integer, so a length too, is a nibble with the number of its nibbles less one, then
//     these nibbles, the least significant first. If that ends in the middle of a byte, the rest of the byte is zero.
//
// [AppendUint], [AppendString] and the like append an item to a slice. A [Decoder] reads items.
//
// # Hostile messages
//
// Unmarshal accepts what libevent's generated code accepts, and nothing else: an unknown tag, a field that occurs twice,
// a required field that is missing are errors. It does not trust a length before it has compared it with
// what is there. So the memory that it allocates is at most the length of the message times a constant, which
// depends on the type only: an element of a slice, or what a pointer points to, can be as short as
// two bytes in the message. Messages may be nested 100 deep.
//
// # libevent
//
// The functions have other names here, because errors and memory are Go's:
//
//	evtag_encode_tag, evtag_decode_tag             AppendTag, Decoder.RawTag
//	evtag_encode_int, _int64, evtag_decode_int     AppendRawUint, Decoder.RawUint32, RawUint64
//	evtag_marshal, _buffer                         AppendBytes, AppendMessage
//	evtag_marshal_int, _int64, _string, _timeval   AppendUint, AppendString, AppendTimeval
//	evtag_peek, _peek_length, _payload_length      Decoder.Peek, PeekLength, PayloadLength
//	evtag_unmarshal_header, evtag_unmarshal        Decoder.Next
//	evtag_consume                                  Decoder.Skip
//	evtag_unmarshal_int, _int64, _string           Decoder.Uint32, Uint64, String
//	evtag_unmarshal_fixed, _timeval                Decoder.Fixed, Timeval
//	EVTAG_HAS, _GET, _ASSIGN, _ARRAY_ADD and so on  the fields of the struct
//
// Where they differ:
//
//   - After an error, a Decoder stands where it stood. libevent has consumed a part.
//   - A string with a zero byte is an error in Marshal: C programs would see only what is before it. Unmarshal
//     accepts it, as libevent does, and returns all of it.
package evtag
