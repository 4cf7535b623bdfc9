// The golden blocks of the current format version: what tests/golden/*.hex held when they were written, and
// what the encoder must still write. A released file is never changed or removed; a new format version adds
// files. make_golden_blocks writes them:
//
//   bazel run //tests/golden:make_golden_blocks -- "$PWD/tests/golden"
//
// A file: "# note", "status: NAME" (what reading it gives), "values: SHA-256 of all segments' decoded values"
// where the status is OK, then the container in hex.
#ifndef KVCOMPD_TESTS_GOLDEN_GOLDEN_BLOCKS_H_
#define KVCOMPD_TESTS_GOLDEN_GOLDEN_BLOCKS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace kvcompd::codec {

struct GoldenBlock {
  std::string file;  // without directory
  std::string note;
  std::string container;
};

std::vector<GoldenBlock> CurrentGoldenBlocks();

// Parses, verifies and decodes: SHA-256 of the values of all segments in order, in hex.
absl::StatusOr<std::string> DecodeGolden(std::string_view container);

std::string GoldenText(const GoldenBlock& block);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_TESTS_GOLDEN_GOLDEN_BLOCKS_H_
