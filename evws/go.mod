module github.com/evchan/evchan/evws

go 1.25.0

require (
	github.com/coder/websocket v1.8.15
	github.com/evchan/evchan v0.0.0
	github.com/gorilla/websocket v1.5.3
	github.com/klauspost/compress v1.20.3
)

require (
	golang.org/x/sync v0.22.0 // indirect
	golang.org/x/sys v0.47.0 // indirect
)

replace github.com/evchan/evchan => ../
