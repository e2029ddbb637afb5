package main

import (
	"net"

	"github.com/vishvananda/netlink"
)

// ownAddress is the address of a test's network namespace that is no loopback
// address; the default route leads to it. Tests that look for the machine's
// own address find it; nothing leaves the namespace.
var ownAddress = net.IPv4(10, 254, 254, 1)

// bringUpNetwork sets up the namespace that the process is in.
func bringUpNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return err
	}
	own := &net.IPNet{IP: ownAddress, Mask: net.CIDRMask(32, 32)}
	if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: own}); err != nil {
		return err
	}
	all := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	return netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Src: ownAddress, Scope: netlink.SCOPE_LINK})
}
