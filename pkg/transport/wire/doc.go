// Package wire is the codec of what peers say to each other: messages, frames and handshakes.
//
// # Layout
//
// A frame is
//
//	length   uint32, little endian: bytes of the payload
//	checksum uint32, little endian: CRC-32C of the length's four bytes and the payload
//	payload  one byte of Kind, then the body
//
// A message's body begins with the version of its layout, its type and its flags; then follow the two
// member IDs (fixed, they are random numbers) and the other fields as variable-length integers. Entries
// hold the difference to the entry before them: index and term cost one byte each in a run. Integers have one
// encoding only (the shortest), unknown flags and left-over bytes are errors: so a decoded message
// encodes to the same bytes again.
//
// A request is its ID and its body to the end of the frame; a reply is the ID, a byte of status, and the body. A
// notification is nothing but its body.
//
// The body of a handshake begins with a magic number and the range of protocol versions that the sender
// speaks. That part never changes, so that every version can refuse every other one and say why. Later
// versions may only add fields at the end, which earlier ones ignore.
//
// # Promises
//
// Decoding never panics, whatever the bytes. What it allocates is bounded by the bytes that really
// arrived: a length is checked against the limit before memory is taken, a large frame is given memory
// as it comes in, and a count is checked against the bytes that are left. Encoding appends to the caller's
// buffer and allocates nothing when that is large enough.
//
// The checksum is against broken hardware and software, not against an attacker.
//
// Ideas: delta and zigzag coding of sorted integers (public integer-compression literature), length and
// CRC framing of log records (write-ahead logs in general).
package wire
