package cluster

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
)

// certValid bounds how long a test cluster may live.
const certValid = 24 * time.Hour

// tlsFiles are a CA and one certificate for members and clients. A nil
// *tlsFiles stands for a cluster in clear.
type tlsFiles struct{ ca, cert, key string }

func (t *tlsFiles) scheme() string {
	if t == nil {
		return "http"
	}
	return "https"
}

// args makes members show and demand a certificate, to peers and clients.
func (t *tlsFiles) args() []string {
	if t == nil {
		return nil
	}
	return []string{
		"--cert-file", t.cert, "--key-file", t.key, "--trusted-ca-file", t.ca, "--client-cert-auth",
		"--peer-cert-file", t.cert, "--peer-key-file", t.key, "--peer-trusted-ca-file", t.ca, "--peer-client-cert-auth",
	}
}

func (t *tlsFiles) client() (*tls.Config, error) {
	if t == nil {
		return nil, nil
	}
	return transport.TLSInfo{CertFile: t.cert, KeyFile: t.key, TrustedCAFile: t.ca}.ClientConfig()
}

// Certificates writes a CA and a certificate for 127.0.0.1 and further
// addresses to dir and returns what a member or client needs of them: both
// sides show and demand one.
func Certificates(dir string, further ...net.IP) (transport.TLSInfo, error) {
	t, err := makeTLS(dir, further...)
	if err != nil {
		return transport.TLSInfo{}, err
	}
	return transport.TLSInfo{CertFile: t.cert, KeyFile: t.key, TrustedCAFile: t.ca, ClientCertAuth: true}, nil
}

// makeTLS writes a CA and a certificate for 127.0.0.1 and further addresses to
// dir.
func makeTLS(dir string, further ...net.IP) (*tlsFiles, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		return nil, err
	}
	ca := template(1, "raftdv test CA")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	leaf := template(2, "raftdv test member")
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	leaf.IPAddresses = append([]net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, further...)
	leaf.DNSNames = []string{"localhost"}
	caDER, err := x509.CreateCertificate(crand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	leafDER, err := x509.CreateCertificate(crand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	t := &tlsFiles{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	for path, block := range map[string]pem.Block{
		t.ca:   {Type: "CERTIFICATE", Bytes: caDER},
		t.cert: {Type: "CERTIFICATE", Bytes: leafDER},
		t.key:  {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(&block), 0o600); err != nil {
			return nil, err
		}
	}
	return t, nil
}

func template(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(certValid),
	}
}

// flags are what etcdctl and raftdv need besides endpoints.
func (t *tlsFiles) flags() map[string]string {
	if t == nil {
		return nil
	}
	return map[string]string{"cacert": t.ca, "cert": t.cert, "key": t.key}
}
