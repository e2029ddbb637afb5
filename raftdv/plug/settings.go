package plug

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/raftdv/dv/raftdv"
)

// A Mode says how hard to try to replace rafthttp.
type Mode string

const (
	// Auto uses the fabrics towards every peer that has them and rafthttp
	// towards the others.
	Auto Mode = "auto"
	// Require never falls back to rafthttp.
	Require Mode = "require"
	// Off leaves rafthttp as it is.
	Off Mode = "off"
)

// A Liveness says what proves that a side fabric may be used.
type Liveness string

const (
	// PeerURL: frames use a side fabric only while the advertised peer URL
	// answers, so that whatever cuts the peer URL cuts the member off.
	PeerURL Liveness = "peer-url"
	// Fabric: a side fabric whose addresses were given explicitly is its own
	// proof of life.
	Fabric Liveness = "fabric"
)

// Elections says whether elections are arbitrated.
type Elections string

const (
	ElectionsOff     Elections = "off"
	ElectionsObserve Elections = "observe"
	ElectionsOn      Elections = "on"

	defaultElections = ElectionsOn
)

// A Switch is on or off.
type Switch string

// The positions of a Switch.
const (
	SwitchOn  Switch = "on"
	SwitchOff Switch = "off"
)

const (
	defaultBeat           = 10 * time.Millisecond
	minBeat               = time.Millisecond
	maxBeat               = 16 * time.Millisecond
	defaultControlTimeout = time.Second
	minControlTimeout     = 100 * time.Millisecond
	maxControlTimeout     = time.Minute
)

// knownFabrics are the fabrics that can be named, best first.
var knownFabrics = []string{raftdv.FabricShm, raftdv.FabricUDP, raftdv.FabricStream}

// Settings are the process-wide settings of the transport. The zero value
// stands for the defaults.
type Settings struct {
	// Mode: default Auto.
	Mode Mode
	// Fabrics are tried in this order. Default: shm if there is a ShmDir, udp,
	// stream.
	Fabrics []string
	// ShmDir is the directory where members of this host meet that use shared
	// memory with each other. Default none: no shared memory.
	ShmDir string
	// ListenUDP is the host:port that the udp fabric binds. Default: host and
	// port of the first peer listener.
	ListenUDP string
	// AdvertiseUDP is the host:port that peers send to, where it differs from
	// what they can guess (NAT, containers). Default: as bound.
	AdvertiseUDP string
	// Liveness: default PeerURL.
	Liveness Liveness
	// Elections: default on. See election.Mode.
	Elections Elections
	// Views says whether members run in views, without which nothing travels in the
	// agreed order and nobody relays. Default on.
	Views Switch
	// Delivery says what of raft's traffic travels in the agreed order: "auto" or
	// "agreed". Default auto. See raftdv.Delivery.
	Delivery string
	// Relays says whether members that cannot reach each other do so by others.
	// Default on.
	Relays Switch
	// Beat is how often a member publishes its row at least while agreed frames are
	// under way or a view changes. Default 10ms.
	Beat time.Duration
	// ControlTimeout is how long a control stream may be silent before side
	// fabrics are given up for it. Default 1s.
	ControlTimeout time.Duration

	// peerListener is the host:port of the first peer listener. Default: that
	// of the first advertised peer URL.
	peerListener string
}

// SetPeerListener takes the value of etcd's --listen-peer-urls, of which the
// server tells its transport nothing. What is wrong with it is left to etcd to
// say.
func (s *Settings) SetPeerListener(urls string) {
	for text := range strings.SplitSeq(urls, ",") {
		u, err := url.Parse(strings.TrimSpace(text))
		if err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Port() != "" {
			s.peerListener = net.JoinHostPort(u.Hostname(), u.Port())
			return
		}
	}
}

// WithDefaults returns s with every zero field replaced by its default.
func (s Settings) WithDefaults() Settings {
	if s.Mode == "" {
		s.Mode = Auto
	}
	if len(s.Fabrics) == 0 {
		s.Fabrics = raftdv.DefaultFabrics(s.ShmDir)
	}
	if s.Liveness == "" {
		s.Liveness = PeerURL
	}
	if s.Elections == "" {
		s.Elections = defaultElections
	}
	if s.Delivery == "" {
		s.Delivery = raftdv.DeliveryAuto.String()
	}
	if s.Views == "" {
		s.Views = SwitchOn
	}
	if s.Relays == "" {
		s.Relays = SwitchOn
	}
	if s.Beat == 0 {
		s.Beat = defaultBeat
	}
	if s.ControlTimeout == 0 {
		s.ControlTimeout = defaultControlTimeout
	}
	return s
}

// Validate returns all faults at once, each with its remedy.
func (s Settings) Validate() error {
	s = s.WithDefaults()
	return errors.Join(
		oneOf("dv-mode", s.Mode, Auto, Require, Off),
		validFabrics(s.Fabrics),
		validAddress("dv-listen-udp", s.ListenUDP, false),
		validAddress("dv-advertise-udp", s.AdvertiseUDP, true),
		s.udpUsed(),
		s.validShm(),
		oneOf("dv-liveness", s.Liveness, PeerURL, Fabric),
		s.livenessBacked(),
		oneOf("dv-elections", s.Elections, ElectionsOff, ElectionsObserve, ElectionsOn),
		oneOf("dv-delivery", s.Delivery, raftdv.DeliveryAuto.String(), raftdv.DeliveryAgreed.String()),
		oneOf("dv-views", s.Views, SwitchOn, SwitchOff),
		oneOf("dv-relays", s.Relays, SwitchOn, SwitchOff),
		within("dv-beat", s.Beat, minBeat, maxBeat),
		within("dv-control-timeout", s.ControlTimeout, minControlTimeout, maxControlTimeout),
	)
}

func oneOf[T ~string](name string, got T, valid ...T) error {
	if slices.Contains(valid, got) {
		return nil
	}
	var names []string
	for _, v := range valid {
		names = append(names, string(v))
	}
	return fmt.Errorf("%s=%q is unknown: use one of %s", name, got, strings.Join(names, ", "))
}

func validFabrics(names []string) error {
	var errs []error
	for i, n := range names {
		if !slices.Contains(knownFabrics, n) {
			errs = append(errs, fmt.Errorf("dv-fabrics: %q is unknown: list any of %s", n, strings.Join(knownFabrics, ", ")))
		}
		if slices.Contains(names[:i], n) {
			errs = append(errs, fmt.Errorf("dv-fabrics: %q is listed twice: name it once", n))
		}
	}
	return errors.Join(errs...)
}

// validAddress checks host:port. One that is sent to peers needs both parts.
func validAddress(name, addr string, forPeers bool) error {
	if addr == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%s=%q is no host:port (%v): write it like 10.0.0.1:2380 or [::1]:2380", name, addr, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("%s=%q: port %q is not a number below 65536", name, addr, port)
	}
	if !forPeers {
		return nil
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() || n == 0 {
		return fmt.Errorf("%s=%q is nothing that a peer can send to: give a host and a port", name, addr)
	}
	return nil
}

func (s Settings) udpUsed() error {
	if slices.Contains(s.Fabrics, raftdv.FabricUDP) || s.ListenUDP == "" && s.AdvertiseUDP == "" {
		return nil
	}
	return errors.New("dv-listen-udp or dv-advertise-udp is set while dv-fabrics lists no udp: add udp or drop the address")
}

func (s Settings) validShm() error {
	listed := slices.Contains(s.Fabrics, raftdv.FabricShm)
	switch {
	case s.ShmDir == "" && listed:
		return errors.New("dv-fabrics lists shm while dv-shm-dir is not set: give the directory where members of this host meet")
	case s.ShmDir == "":
		return nil
	case !listed:
		return errors.New("dv-shm-dir is set while dv-fabrics lists no shm: add shm or drop the directory")
	}
	if err := raftdv.ValidShmDir(s.ShmDir); err != nil {
		return fmt.Errorf("dv-shm-dir: %w", err)
	}
	return nil
}

func (s Settings) livenessBacked() error {
	if s.Liveness != Fabric || s.ListenUDP != "" || s.AdvertiseUDP != "" || s.ShmDir != "" {
		return nil
	}
	return errors.New("dv-liveness=fabric holds for addresses that were given only: set dv-listen-udp, dv-advertise-udp or dv-shm-dir, or use peer-url")
}

func within(name string, got, low, high time.Duration) error {
	if got < low || got > high {
		return fmt.Errorf("%s=%v is out of range: use %v to %v", name, got, low, high)
	}
	return nil
}
