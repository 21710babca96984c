// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtag_test

import (
	"fmt"

	"github.com/evchan/evchan/evrpc/evtag"
)

func Example() {
	type Kill struct {
		Weapon   string   `evtag:"0x10121"`
		Action   string   `evtag:"2"`
		HowOften []uint32 `evtag:"3"`
	}

	data, err := evtag.Marshal(nil, &Kill{Weapon: "feather", Action: "tickle", HowOften: []uint32{1, 300}})
	if err != nil {
		panic(err)
	}
	fmt.Printf("%q\n", data)

	var kill Kill
	fmt.Println(evtag.Unmarshal(data, &kill), kill)
	fmt.Println(evtag.Unmarshal(data[:25], &kill), kill)
	// Output:
	// "\xa1\x82\x04\afeather\x02\x06tickle\x03\x01\x01\x03\x02,!"
	// <nil> {feather tickle [1 300]}
	// evtag: tag 3 at byte 22: unexpected EOF {  []}
}

func ExampleDecoder() {
	data := evtag.AppendUint(nil, 1, 1500)
	data = evtag.AppendString(data, 2, "evchan")
	data = evtag.AppendMessage(data, 3, func(dst []byte) []byte {
		return evtag.AppendTimeval(dst, 1, evtag.Timeval{Sec: 2})
	})

	d := evtag.NewDecoder(data)
	for d.Len() > 0 {
		tag, payload, err := d.Next()
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Printf("%d: %q\n", tag, payload)
	}
	// Output:
	// 1: ",\xd5"
	// 2: "evchan"
	// 3: "\x01\x02\x02\x00"
}
