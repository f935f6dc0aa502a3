//go:build !unix

package badgerlog

import "os"

// Badger's own lock decides here.
func tryLock(*os.File) (bool, error) { return true, nil }

func unlock(*os.File) error { return nil }

func processLives(int) bool { return true }

func isFull(error) bool { return false }

func isReadOnly(error) bool { return false }
