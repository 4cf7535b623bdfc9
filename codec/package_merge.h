// Optimal length-limited prefix codes by the package-merge algorithm (Larmore and Hirschberg 1990).
//
// Called by Codebook::FromCounts. A pure function.
//
//   std::vector<uint8_t> lengths = PackageMerge(weights, 12);   // Kraft sum exactly 1
//
// Ties are part of the file format (FORMAT.md, "Codebook set"): two symbols of equal weight stand in the
// order of their numbers, and a symbol stands before a package of equal weight.
#ifndef KVCOMPD_CODEC_PACKAGE_MERGE_H_
#define KVCOMPD_CODEC_PACKAGE_MERGE_H_

#include <cstdint>
#include <span>
#include <vector>

namespace kvcompd::codec {

// weights: [2 to 1 << max_bits], their sum times max_bits under 2^64. Returns each symbol's code length.
std::vector<uint8_t> PackageMerge(std::span<const uint64_t> weights, uint32_t max_bits);

}  // namespace kvcompd::codec

#endif  // KVCOMPD_CODEC_PACKAGE_MERGE_H_
