// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

//go:build unix

package main

import (
	"bytes"
	"fmt"
	"slices"
)

// bars draws values as a line of at most width characters.
func bars(values []float64, width int) string {
	const levels = "▁▂▃▄▅▆▇█"
	high := slices.Max(values)
	var line []rune
	for i := range min(width, len(values)) {
		n := min(width, len(values))
		v := slices.Max(values[i*len(values)/n : (i+1)*len(values)/n])
		line = append(line, []rune(levels)[int(v/high*7)])
	}
	return string(line)
}

// plot returns a picture of the memory over time, as SVG.
func plot(samples []sample) []byte {
	const width, height, left, bottom = 800, 300, 70, 30
	var high, end float64
	for _, s := range samples {
		high, end = max(high, s.bytes), max(end, s.at.Seconds())
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	x := func(at float64) float64 { return left + at/max(end, 1e-9)*(width-left-20) }
	y := func(v float64) float64 { return height - bottom - v/max(high, 1)*(height-bottom-20) }
	for i := range 5 {
		v, t := high*float64(i)/4, end*float64(i)/4
		fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n", left, y(v), width-20, left-6, y(v)+4, size(v))
		fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%.0f s</text>`+"\n", x(t), height-10, t)
	}
	b.WriteString(`<polyline fill="none" stroke="#06c" points="`)
	for _, s := range samples {
		fmt.Fprintf(&b, "%.1f,%.1f ", x(s.at.Seconds()), y(s.bytes))
	}
	b.WriteString("\"/>\n</svg>\n")
	return b.Bytes()
}
