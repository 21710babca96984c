module github.com/evchan/evchan/bench

go 1.25.0

require golang.org/x/sys v0.47.0

replace github.com/evchan/evchan => ..
