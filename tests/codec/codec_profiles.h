// The profiles that every codec suite runs over: each codec with each of its options. A new codec, or a new
// option, is entered here and inherits round trip, determinism, equality of instruction sets, and corruption.
#ifndef KVCOMPD_TESTS_CODEC_CODEC_PROFILES_H_
#define KVCOMPD_TESTS_CODEC_CODEC_PROFILES_H_

#include <string>

namespace kvcompd::testing {

inline constexpr const char* kSuiteProfiles[] = {
    "raw",
    "kvcomp:rel_k=0.05,rel_v=0.1",
    "kvcomp:rel_k=0.005,rel_v=0.5,strict=1",
    "kvcomp:rel_k=0.2,rel_v=0.2,k_unit=channel",
    "kvcomp:rel_k=0.1,rel_v=0.1,v_unit=block",
    "kvcomp:rel_k=0.2,rel_v=0.2,v_unit=block,coder=rans",
    "kvcomp:rel_k=0.02,rel_v=0.005,coder=rans",
    "kvcomp:rel_k=0.2,rel_v=0.1,k_unit=channel,coder=rans",
    "lossless:mode=fast",
    "lossless:mode=dense",
    "intq:bits=4,group=32",
    "intq:bits=8,group=64",
    "intq:bits=2,group=128,bits_v=4",
    "packkv:rel_k=0.1,rel_v=0.2",
    "packkv:rel_k=0.005,rel_v=0.05,repack=median,pack=4",
    "packkv:rel_k=0.2,rel_v=0.2,repack=greedy,pack=32",
    "packkv:rel_k=0.1,rel_v=0.2,repack=auto,pack=auto",
};

// A name that gtest takes.
inline std::string TestNameOf(std::string name) {
  for (char& c : name) {
    if ((c < 'a' || c > 'z') && (c < '0' || c > '9')) c = '_';
  }
  return name;
}

}  // namespace kvcompd::testing

#endif  // KVCOMPD_TESTS_CODEC_CODEC_PROFILES_H_
