// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evtls

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evchan/evchan"
)

// TestMain fails if a goroutine is left in this package.
func TestMain(m *testing.M) {
	code := m.Run()
	for until := time.Now().Add(10 * time.Second); code == 0; runtime.Gosched() {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if n := bytes.Count(stacks, []byte("evtls.(*handshake)")); n == 0 {
			break
		} else if time.Now().After(until) {
			fmt.Printf("goroutines of handshakes are left:\n%s\n", stacks)
			code = 1
		}
	}
	os.Exit(code)
}

// patience is how long a test waits for what must come.
const patience = 30 * time.Second

// serverName is in the certificates.
const serverName = "server.example"

// An authority issues certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
}

var newAuthority = sync.OnceValue(func() *authority {
	a := new(authority)
	a.key = newKey()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "Test CA"},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		panic(err)
	}
	a.cert, _ = x509.ParseCertificate(der)
	a.pool = x509.NewCertPool()
	a.pool.AddCert(a.cert)
	return a
})

func newKey() crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key
}

// issue returns a certificate. change changes what it says; nil: nothing.
func (a *authority) issue(change func(*x509.Certificate)) tls.Certificate {
	key := newKey()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "Test"},
		DNSNames:     []string{serverName},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var goodCert = sync.OnceValue(func() tls.Certificate { return newAuthority().issue(nil) })

// serverConfig and clientConfig return configurations that fit. If version is not 0, it is the
// only one.
func serverConfig(version uint16) *tls.Config {
	return &tls.Config{Certificates: []tls.Certificate{goodCert()}, MinVersion: version, MaxVersion: version}
}

func clientConfig(version uint16) *tls.Config {
	return &tls.Config{RootCAs: newAuthority().pool, ServerName: serverName, MinVersion: version, MaxVersion: version}
}

// writePEM writes a certificate and its key, and the authority's certificate, into files.
func writePEM(t *testing.T, c tls.Certificate) (cert, key, ca string) {
	t.Helper()
	dir := t.TempDir()
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	must(t, err)
	write := func(name, kind string, data []byte) string {
		name = filepath.Join(dir, name)
		must(t, os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600))
		return name
	}
	return write("cert.pem", "CERTIFICATE", c.Certificate[0]), write("key.pem", "PRIVATE KEY", der),
		write("ca.pem", "CERTIFICATE", newAuthority().cert.Raw)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// versions calls test for each version of TLS.
func versions(t *testing.T, test func(t *testing.T, version uint16)) {
	for _, v := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		t.Run(strings.ReplaceAll(tls.VersionName(v), " ", ""), func(t *testing.T) { test(t, v) })
	}
}

// A pump receives the messages of a loop, and keeps what each stream has said and received.
type pump struct {
	*testing.T
	loop *evchan.Loop
	said map[*evchan.Stream][]string
	got  map[*evchan.Stream]*bytes.Buffer
	keep bool               // leave the input where it is
	on   func(evchan.Event) // is called with each message first; nil: nothing is
}

func newPump(t *testing.T, conf *evchan.Config) *pump {
	t.Helper()
	loop, err := evchan.New(conf)
	must(t, err)
	t.Cleanup(func() { loop.Close() })
	return &pump{T: t, loop: loop, said: make(map[*evchan.Stream][]string), got: make(map[*evchan.Stream]*bytes.Buffer)}
}

// until receives messages until cond returns true.
func (p *pump) until(what string, cond func() bool) {
	p.Helper()
	for end := time.Now().Add(patience); !cond(); {
		p.once(time.Millisecond)
		if time.Now().After(end) {
			p.loop.Dump(p.Output())
			for s, said := range p.said {
				p.Logf("%v: %v, %v", s, said, s.Err())
			}
			p.Fatalf("%s does not come", what)
		}
	}
}

// once receives a message, if one comes in time.
func (p *pump) once(wait time.Duration) bool {
	ev, ok := p.loop.Poll(wait)
	if !ok {
		return false
	}
	s, ok := ev.Source().(*evchan.Stream)
	if !ok {
		if p.on != nil {
			p.on(ev)
		}
		return true
	}
	name := strings.TrimPrefix(fmt.Sprintf("%T", ev), "evchan.")
	if said := p.said[s]; len(said) == 0 || said[len(said)-1] != name {
		p.said[s] = append(said, name) // once for several in a row
	}
	if p.on != nil {
		p.on(ev)
	}
	if p.keep {
		return true
	}
	switch ev.(type) {
	case evchan.Readable, evchan.EOF, evchan.Closed:
		if p.got[s] == nil {
			p.got[s] = new(bytes.Buffer)
		}
		s.Input().WriteTo(p.got[s])
	}
	return true
}

// saw reports whether s has said name.
func (p *pump) saw(s *evchan.Stream, name string) bool { return slices.Contains(p.said[s], name) }

// untilSaid receives until s has said name.
func (p *pump) untilSaid(s *evchan.Stream, name string) {
	p.Helper()
	p.until(name, func() bool { return p.saw(s, name) || s == nil })
}

// text returns what s has received.
func (p *pump) text(s *evchan.Stream) string {
	if b := p.got[s]; b != nil {
		return b.String()
	}
	return ""
}

// untilText receives until s has received want.
func (p *pump) untilText(s *evchan.Stream, want string) {
	p.Helper()
	p.until(fmt.Sprintf("%.50q", want), func() bool { return p.text(s) == want })
}

// done reports whether c is closed.
func done(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// pair returns a client and a server on the ends of a Pipe.
func (p *pump) pair(client, server *tls.Config) (c, s *evchan.Stream) {
	p.Helper()
	a, b := p.loop.Pipe(nil, nil)
	c, err := Client(a, client, nil)
	must(p, err)
	s, err = Server(b, server, nil)
	must(p, err)
	return c, s
}

// listen returns a listener of TLS streams.
func (p *pump) listen(conf *tls.Config, opts *Options) *evchan.Listener {
	p.Helper()
	ln, err := p.loop.Listen("tcp", "127.0.0.1:0", &evchan.ListenConfig{Over: Over(conf, opts)})
	must(p, err)
	return ln
}

// async calls f on another goroutine, and receives messages until it has returned.
func (p *pump) async(what string, f func() error) {
	p.Helper()
	result := make(chan error, 1)
	go func() { result <- f() }()
	var err error
	p.until(what, func() bool {
		select {
		case err = <-result:
			return true
		default:
			return false
		}
	})
	if err != nil {
		p.Errorf("%s: %v", what, err)
	}
}

// pattern returns n bytes.
func pattern(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8*13)
	}
	return string(b)
}

// readAll reads c up to its end.
func readAll(c io.Reader, want string) error {
	got, err := io.ReadAll(c)
	if err == nil && string(got) != want {
		err = fmt.Errorf("%d bytes, want %d others", len(got), len(want))
	}
	return err
}

func writeFile(name, text string) error { return os.WriteFile(name, []byte(text), 0o600) }
