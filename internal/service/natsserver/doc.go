// Package natsserver gives a node its way into NATS: an embedded nats-server that joins the other members'
// servers into one NATS cluster, or a connection to an outside one.
//
// It promises: Start returns when the server's own listeners are bound, or with an error that says which
// address is in use; routes are tried for ever and may be replaced at any time; the connection that Connect and
// Dial return reconnects for ever and keeps no reconnect buffer, so that nothing is sent later than its caller
// believes; what happens to the connection is logged and told to an Observer. Monitoring, websocket, MQTT, leaf
// nodes, gateways and JetStream are off, and the server installs no signal handlers.
//
// It asks of its caller: one cluster name for all members, Stop exactly when the node has left NATS, and the
// closing of connections that it was given.
//
// The settings follow the measurements in the project's NATS notes: pings every 5 s with two missed notice a
// stalled process, on routes as on clients; listeners alone do not make a server ready, routes do.
package natsserver
