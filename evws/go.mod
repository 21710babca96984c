module github.com/evchan/evchan/evws

go 1.25.0

require (
	github.com/evchan/evchan v0.0.0
	github.com/klauspost/compress v1.20.3
)

require (
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace github.com/evchan/evchan => ../
