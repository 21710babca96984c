// Copyright (c) 2026 The evchan Authors.
// Use of this source code is governed by the MIT license in the LICENSE file.

package evdns

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/evchan/evchan/evtls"
	"golang.org/x/net/dns/dnsmessage"
)

// newCertificate returns a certificate for dns.test and 127.0.0.1, and the roots that trust it.
func newCertificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"dns.test"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: cert}, roots
}

// DNS over TLS: the names of servers are checked, questions are padded, and one connection
// serves for many.
func TestTLS(t *testing.T) {
	cert, roots := newCertificate(t)
	from := map[string]bool{}
	s := serve(t, "tcp", &ServerConfig{Over: evtls.Over(&tls.Config{Certificates: []tls.Certificate{cert}}, nil)}, func(q *Request) {
		from[q.From.String()] = true
		if n := len(q.Message()); n%128 != 0 {
			t.Errorf("a question of %d bytes", n)
		}
		answerTestZone(q)
	})
	loop := newLoop(t)
	for name, works := range map[string]bool{"#dns.test": true, "": true, "#other.test": false} {
		r := newResolver(t, loop, &Config{
			Servers: []string{"tls://" + s.Addr().String() + name},
			TLS:     &tls.Config{RootCAs: roots}, CacheSize: -1, Timeout: testLimit,
		})
		for range 20 {
			r.Lookup("v4.test", "ip4", nil)
			r.Query("big.test", dnsmessage.TypeTXT, dnsmessage.ClassINET, nil)
			r.Lookup("alias.test", "ip4", nil)
		}
		for _, a := range answers(t, loop, 60) {
			if (a.Err == nil) != works {
				t.Fatalf("%q: %v", name, a.Err)
			}
			if !works && !strings.Contains(a.Err.Error(), "certificate") {
				t.Errorf("%q: %v", name, a.Err)
			}
		}
		r.Close()
	}
	if len(from) != 2 {
		t.Errorf("%d connections, want 2", len(from))
	}
}

// The server by TLS, asked by dig.
func TestTLSClientsOfOthers(t *testing.T) {
	cert, _ := newCertificate(t)
	s := serve(t, "tcp", &ServerConfig{Over: evtls.Over(&tls.Config{Certificates: []tls.Certificate{cert}}, nil)}, answerTestZone)
	host, port, _ := net.SplitHostPort(s.Addr().String())
	dig := program(t, "dig")
	if out, _ := exec.Command(dig, "+tls", "-v").CombinedOutput(); strings.Contains(string(out), "Invalid option") {
		t.Skipf("this dig does not know TLS: %s", out)
	}
	checkOutput(t, dig, []string{"@" + host, "-p", port, "+tls", "+tries=1", "+time=10", "v4.test", "A"}, []string{"v4.test. 60 IN A 192.0.2.1", "(TLS)"})
}

// The resolver asks unbound by TLS.
func TestTLSServersOfOthers(t *testing.T) {
	cert, roots := newCertificate(t)
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	keyFile := writeFile(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	certFile := writeFile(t, "cert.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})))
	addr := startServer(t, func(t *testing.T, port string) *exec.Cmd {
		return exec.Command(program(t, "unbound"), "-d", "-c", writeFile(t, "unbound.conf", `
server:
	interface: 127.0.0.1@`+port+`
	tls-port: `+port+`
	tls-service-key: "`+keyFile+`"
	tls-service-pem: "`+certFile+`"
	username: ""
	chroot: ""
	pidfile: ""
	directory: "`+t.TempDir()+`"
	do-daemonize: no
	use-syslog: no
	module-config: "iterator"
	local-zone: "test." static
	local-data: "v4.test. 60 IN A 192.0.2.1"
remote-control:
	control-enable: no
`))
	})
	loop := newLoop(t)
	r := newResolver(t, loop, &Config{Servers: []string{"tls://" + addr + "#dns.test"}, TLS: &tls.Config{RootCAs: roots}, CacheSize: -1})
	for range 50 {
		r.Lookup("v4.test", "ip4", nil)
		r.Lookup("no.test", "ip4", nil)
	}
	for _, a := range answers(t, loop, 100) {
		if bad := a.Query.Host == "no.test"; (a.Err != nil) != bad {
			t.Error(a.Err)
		}
	}
}
