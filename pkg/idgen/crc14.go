package idgen

// CRC-14/GSM: width 14, polynomial x^14 + x^13 + x^5 + x^3 + x^2 + 1, initial value 0, not reflected,
// result inverted. Its generator has a constant term, so every burst of up to 14 bits is found: one wrong
// character, or two neighbours exchanged, of a UUID's text.
const (
	crcPoly = 0x202d
	crcMask = 0x3fff
	crcBits = 114 // of a UUID, the ones that are checked
)

// crcTables holds, for each of the 15 octets in which the checked bits lie and each value of the octet, the
// remainder that it contributes. A CRC is linear, so the remainder of the whole is their sum (XOR), and the
// look-ups don't wait for each other.
var crcTables = makeCRCTables()

func makeCRCTables() (t [15][256]uint16) {
	for pos := range t {
		for v := range 256 {
			var r uint16
			for bit := pos * 8; bit < crcBits; bit++ {
				in := uint16(0)
				if bit < pos*8+8 {
					in = uint16(v>>(7-bit%8)) & 1
				}
				r = crcStep(r, in)
			}
			t[pos][v] = r
		}
	}
	return t
}

// crcStep feeds one bit.
func crcStep(r, in uint16) uint16 {
	top := r>>13&1 ^ in
	r = r << 1 & crcMask
	if top != 0 {
		r ^= crcPoly
	}
	return r
}

// crc14 returns the checksum of a UUID's first 114 bits, given as its two halves; the last 14 bits of lo
// are not looked at.
func crc14(hi, lo uint64) uint16 {
	t := &crcTables
	r := t[0][hi>>56] ^ t[1][hi>>48&0xff] ^ t[2][hi>>40&0xff] ^ t[3][hi>>32&0xff] ^
		t[4][hi>>24&0xff] ^ t[5][hi>>16&0xff] ^ t[6][hi>>8&0xff] ^ t[7][hi&0xff] ^
		t[8][lo>>56] ^ t[9][lo>>48&0xff] ^ t[10][lo>>40&0xff] ^ t[11][lo>>32&0xff] ^
		t[12][lo>>24&0xff] ^ t[13][lo>>16&0xff] ^ t[14][lo>>8&0xc0]
	return r ^ crcMask
}
