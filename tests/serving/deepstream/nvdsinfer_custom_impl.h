// The part of DeepStream's published interface that a parser uses: names, order and types of fields.
// Written for the test from the SDK's API reference (nvdsinfer.h, nvdsinfer_custom_impl.h).
#pragma once

#include <vector>

enum NvDsInferDataType { FLOAT = 0, HALF = 1, INT8 = 2, INT32 = 3 };

struct NvDsInferDims {
  unsigned int numDims;
  unsigned int d[8];
  unsigned int numElements;
};

struct NvDsInferLayerInfo {
  NvDsInferDataType dataType;
  NvDsInferDims inferDims;
  int bindingIndex;
  const char* layerName;
  void* buffer;
  int isInput;
};

struct NvDsInferNetworkInfo {
  unsigned int width, height, channels;
};

struct NvDsInferObjectDetectionInfo {
  unsigned int classId;
  float left, top, width, height;
  float detectionConfidence;
};

struct NvDsInferInstanceMaskInfo {
  unsigned int classId;
  float left, top, width, height;
  float detectionConfidence;
  float* mask;
  unsigned int mask_width, mask_height, mask_size;
};

struct NvDsInferParseDetectionParams {
  unsigned int numClassesConfigured;
  std::vector<float> perClassPreclusterThreshold;
  std::vector<float> perClassPostclusterThreshold;
};

extern "C" {
typedef bool (*NvDsInferParseCustomFunc)(std::vector<NvDsInferLayerInfo> const&,
                                         NvDsInferNetworkInfo const&,
                                         NvDsInferParseDetectionParams const&,
                                         std::vector<NvDsInferObjectDetectionInfo>&);
typedef bool (*NvDsInferInstanceMaskParseCustomFunc)(std::vector<NvDsInferLayerInfo> const&,
                                                     NvDsInferNetworkInfo const&,
                                                     NvDsInferParseDetectionParams const&,
                                                     std::vector<NvDsInferInstanceMaskInfo>&);
bool NvDsInferInitializeInputLayers(std::vector<NvDsInferLayerInfo> const&,
                                    NvDsInferNetworkInfo const&, unsigned int);
}

#define CHECK_CUSTOM_PARSE_FUNC_PROTOTYPE(function) \
  static_assert(NvDsInferParseCustomFunc{function} != nullptr, "");
#define CHECK_CUSTOM_INSTANCE_MASK_PARSE_FUNC_PROTOTYPE(function) \
  static_assert(NvDsInferInstanceMaskParseCustomFunc{function} != nullptr, "");
