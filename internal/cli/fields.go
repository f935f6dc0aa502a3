package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// field is one member of a JSON object whose order is kept.
type field struct {
	key   string
	value json.RawMessage
}

// decodeFields reads a JSON object in its order.
func decodeFields(doc []byte, fields *[]field) error {
	d := json.NewDecoder(bytes.NewReader(doc))
	if t, err := d.Token(); err != nil {
		return fmt.Errorf("read answer: %w", err)
	} else if t != json.Delim('{') {
		return errors.New("read answer: not an object")
	}
	for d.More() {
		k, err := d.Token()
		if err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		key, _ := k.(string) // keys are
		var v json.RawMessage
		if err := d.Decode(&v); err != nil {
			return fmt.Errorf("read answer: %w", err)
		}
		*fields = append(*fields, field{key, v})
	}
	return nil
}

// documentWithout takes fields out of a JSON object.
func documentWithout(doc json.RawMessage, keys ...string) (json.RawMessage, error) {
	var fields []field
	if err := decodeFields(doc, &fields); err != nil {
		return nil, err
	}
	return encodeFields(slices.DeleteFunc(fields, func(f field) bool { return slices.Contains(keys, f.key) }))
}

// encodeFields is the reverse.
func encodeFields(fields []field) (json.RawMessage, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		k, err := json.Marshal(f.key)
		if err != nil {
			return nil, err
		}
		b.Write(k)
		b.WriteByte(':')
		b.Write(f.value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
