module github.com/evchan/evchan/evdns

go 1.25.0

require (
	github.com/evchan/evchan v0.0.0
	github.com/miekg/dns v1.1.73
	golang.org/x/net v0.57.0
	golang.org/x/sys v0.47.0
)

require golang.org/x/sync v0.22.0 // indirect

replace github.com/evchan/evchan => ../
