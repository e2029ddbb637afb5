// Package plug is what a patched etcd server calls instead of using
// rafthttp.Transport directly, and where that call finds its settings.
//
// The server hands New its configuration and the transport that it would have
// used, filled in but not started. New returns the transport to use.
//
// Settings hold for the whole process. A program gives them with Configure
// before it starts a server; without that they are read from the ETCD_DV_*
// environment variables, which is how binaries that know nothing of this
// module (etcd's own test programs, for one) are configured. One table
// (options) holds every setting; flags, environment and configuration file
// are three ways into it.
package plug
