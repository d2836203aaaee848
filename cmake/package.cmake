# One Debian package: program, library, header, the demo model, and the unit that serves /etc/nibble/NAME.yaml as
# nibble@NAME. scripts/package builds it (NB_PACKAGE=ON, prefix /usr) and tries it in a fresh root.
option(NB_PACKAGE "Install what belongs to a system too: unit, configuration, demo model" OFF)
if(NB_PACKAGE)
  install(DIRECTORY models/demo/ DESTINATION ${CMAKE_INSTALL_DATADIR}/nibble/models/demo)
  install(FILES deploy/systemd/nibble@.service DESTINATION lib/systemd/system)
  install(FILES deploy/systemd/demo.yaml DESTINATION /etc/nibble)
  install(FILES deploy/debian/copyright DESTINATION ${CMAKE_INSTALL_DOCDIR})
else()
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
endif()

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_CONTACT "The nibble authors <nibble@authors.invalid>" CACHE STRING "Maintainer of the package")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "quantizes mixture-of-experts language models to NVFP4 and serves them")
set(CPACK_PACKAGE_DESCRIPTION "nibble takes a BF16 checkpoint to four bits a weight, runs it on a CPU or
an NVIDIA GPU, and speaks the OpenAI API. The package has the program, the
C library and a small trained model to try both with.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "pkg-config, libjansson-dev, libpcre2-dev, libutf8proc-dev, libxxhash-dev")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
  ${CMAKE_SOURCE_DIR}/deploy/debian/conffiles
  ${CMAKE_SOURCE_DIR}/deploy/debian/triggers
  ${CMAKE_SOURCE_DIR}/deploy/debian/postinst
  ${CMAKE_SOURCE_DIR}/deploy/debian/prerm
  ${CMAKE_SOURCE_DIR}/deploy/debian/postrm)
include(CPack)
