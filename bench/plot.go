// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package main

import (
	"path/filepath"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// A chart is a plot with a group of bars for each place on its x axis, and in
// it a bar for each server.
type chart struct {
	file   string
	title  string
	y      string
	places []string
	bars   []bars
}

// bars are those of one server, one for each place; 0 where there is none.
type bars struct {
	server string
	values []float64
}

// A place is where a chart gets the bars of one group from.
type place struct {
	name    string
	setting func(setting) bool
	metric  string
	ratio   bool // to the reference
}

// charts returns the plots for which there are data. The report has been
// summarized.
func (r *report) charts() []chart {
	var all []chart
	add := func(file, title, y string, places []place) {
		if c := r.chart(places); len(c.places) > 0 {
			c.file, c.title, c.y = file, title, y
			all = append(all, c)
		}
	}

	var conns []place
	for _, n := range r.conns() {
		conns = append(conns, place{strconv.Itoa(n), func(s setting) bool {
			return s == echoSetting("shared", n, 64, 1)
		}, cpuRequest.key, true})
	}
	if len(r.Rows) > 0 {
		add("cpu.svg", "CPU time a request: echo of 64 bytes, shared CPU, by connections", "relative to "+r.Rows[0].Server, conns)
	}

	var latency []place
	isRate := func(s setting) bool { return s.Work == "rate" }
	for _, m := range []metric{p50, p99} {
		latency = append(latency, place{m.title[:3], isRate, m.key, false})
	}
	add("latency.svg", "Latency at a fixed rate", "µs", latency)

	var bulk []place
	for _, w := range []string{"sink", "source", "proxy"} {
		bulk = append(bulk, place{w, func(s setting) bool { return s.Work == w }, bytesCPU.key, false})
	}
	add("bulk.svg", "Bulk", "GB a CPU second", bulk)
	return all
}

// conns returns the numbers of connections that there are rows for, in
// ascending order.
func (r *report) conns() []int {
	var nn []int
	for _, row := range r.Rows {
		nn = append(nn, row.Setting.Conns)
	}
	slices.Sort(nn)
	return slices.Compact(nn)
}

// chart collects the bars. Of several settings that a place may mean, the
// first counts. Places that are in no setting are left out.
func (r *report) chart(places []place) chart {
	var c chart
	for _, p := range places {
		i := slices.IndexFunc(r.Rows, func(row *row) bool { return p.setting(row.Setting) })
		if i < 0 {
			continue
		}
		s := r.Rows[i].Setting
		for _, row := range r.Rows {
			if row.Setting != s {
				continue
			}
			value, ok := row.Summary[p.metric].Median, !row.Idle
			if p.ratio {
				value, ok = ratioOf(row, r.reference(s), p.metric)
			}
			if ok && value > 0 {
				c.set(row.Server, len(c.places), value)
			}
		}
		c.places = append(c.places, p.name)
	}
	for i := range c.bars {
		c.bars[i].grow(len(c.places))
	}
	if len(c.bars) == 0 {
		c.places = nil
	}
	return c
}

// set gives the server a bar at the place with that index.
func (c *chart) set(server string, index int, value float64) {
	i := slices.IndexFunc(c.bars, func(b bars) bool { return b.server == server })
	if i < 0 {
		i = len(c.bars)
		c.bars = append(c.bars, bars{server: server})
	}
	c.bars[i].grow(index + 1)
	c.bars[i].values[index] = value
}

// grow makes sure that there are at least n values.
func (b *bars) grow(n int) {
	for len(b.values) < n {
		b.values = append(b.values, 0)
	}
}

// save draws the chart into its file in dir.
func (c chart) save(dir string) error {
	p := plot.New()
	p.Title.Text = c.title
	p.Title.Padding = vg.Points(8)
	p.Y.Label.Text = c.y
	p.Y.Min = 0
	p.NominalX(c.places...)
	const (
		width  = 10  // of a bar, in points
		legend = 120 // right of the bars
		axis   = 60  // left of them
	)
	place := float64(width * (len(c.bars) + 2))
	right := float64(len(c.places)) - 0.5 // a place is 1 wide, the first is around 0
	p.Legend.Top = true
	grid := plotter.NewGrid()
	grid.Vertical.Color = nil
	p.Add(grid)
	colors := slices.Concat(plotutil.DarkColors, plotutil.SoftColors)
	for i, b := range c.bars {
		bar, err := plotter.NewBarChart(plotter.Values(b.values), vg.Points(width))
		if err != nil {
			return err
		}
		bar.Color = colors[i%len(colors)]
		bar.LineStyle.Width = 0
		bar.Offset = vg.Points(width * (float64(i) - float64(len(c.bars)-1)/2))
		p.Add(bar)
		p.Legend.Add(b.server, bar)
	}
	p.X.Min, p.X.Max = -0.5, right+legend/place // what adding a bar has widened
	wide := place*float64(len(c.places)) + legend + axis
	return p.Save(vg.Points(wide), vg.Points(300), filepath.Join(dir, c.file))
}
