# libnibble, shared and static: the objects of the modules below the C API of include/nibble.h. Only nibble_* is seen from
# outside the shared one; test/library/test_install checks that.
nb_module(library nb_text nb_constrain nb_cpu nb_cuda nb_engine PkgConfig::XXHASH)
target_include_directories(nb_library PUBLIC ${CMAKE_SOURCE_DIR}/include)

# A sanitizer's runtime belongs to programs: builds with one have no library to install.
if(NB_SANITIZE OR NB_FUZZ)
  return()
endif()

set(objects)
foreach(module base numeric text constrain checkpoint model cpu cuda engine library)
  get_target_property(type nb_${module} TYPE)
  if(NOT type STREQUAL "INTERFACE_LIBRARY")
    list(APPEND objects $<TARGET_OBJECTS:nb_${module}>)
  endif()
endforeach()

add_library(nibble_shared SHARED ${objects})
set_target_properties(nibble_shared PROPERTIES
  OUTPUT_NAME nibble
  LINKER_LANGUAGE C
  VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}
  LINK_DEPENDS ${CMAKE_SOURCE_DIR}/cmake/nibble.map)
target_link_options(nibble_shared PRIVATE -Wl,--no-undefined -Wl,--version-script=${CMAKE_SOURCE_DIR}/cmake/nibble.map)
target_link_libraries(nibble_shared PRIVATE
  PkgConfig::JANSSON PkgConfig::PCRE2 PkgConfig::UTF8PROC PkgConfig::XXHASH ${NB_CUDA_LIBRARIES} Threads::Threads m)

add_library(nibble_static STATIC ${objects})
set_target_properties(nibble_static PROPERTIES OUTPUT_NAME nibble LINKER_LANGUAGE C)

# nibble.pc finds its tree from where it lies, so that an installed tree can be moved.
file(RELATIVE_PATH NB_PC_TO_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
string(REGEX REPLACE "/$" "" NB_PC_TO_PREFIX "${NB_PC_TO_PREFIX}")
set(NB_PC_STATIC_LIBS)
foreach(library ${NB_CUDA_LIBRARIES})
  if(library MATCHES "^/")
    string(APPEND NB_PC_STATIC_LIBS " ${library}")
  else()
    string(APPEND NB_PC_STATIC_LIBS " -l${library}")
  endif()
endforeach()
configure_file(cmake/nibble.pc.in nibble.pc @ONLY)
