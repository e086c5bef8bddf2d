"""What packages need of the operating system: compilers, headers, libraries, and the Debian packages with them.

Data. The builder is Ubuntu 24.04 (heroku/builder:24); which package has a file, https://packages.ubuntu.com says.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.diagnosis.engine import Cause, Sign
from orchestrator.diagnosis.node import INSTALL as NODE_INSTALL
from orchestrator.diagnosis.python import INSTALL as PYTHON_INSTALL

#: Any of these says that the installation of packages was given up.
_GAVE_UP = rf"(?:{PYTHON_INSTALL}|{NODE_INSTALL}|\s*! Error installing your applications?'s dependencies)"
_WHERE = "in `project.toml`, as `install` under `[com.heroku.buildpacks.deb-packages]`"
_WHEEL = "Often another version of it comes compiled and does without."

#: A C header's path and the Debian package that brings it.
HEADERS = (
    ("alsa/asoundlib.h", "libasound2-dev"),
    ("boost/", "libboost-dev"),
    ("bzlib.h", "libbz2-dev"),
    ("cairo.h", "libcairo2-dev"),
    ("curl/curl.h", "libcurl4-openssl-dev"),
    ("enchant.h", "libenchant-2-dev"),
    ("expat.h", "libexpat1-dev"),
    ("ffi.h", "libffi-dev"),
    ("fftw3.h", "libfftw3-dev"),
    ("freetype2/", "libfreetype-dev"),
    ("ft2build.h", "libfreetype-dev"),
    ("geos_c.h", "libgeos-dev"),
    ("gdal.h", "libgdal-dev"),
    ("girepository.h", "libgirepository1.0-dev"),
    ("gmp.h", "libgmp-dev"),
    ("graphviz/cgraph.h", "libgraphviz-dev"),
    ("hiredis/", "libhiredis-dev"),
    ("jpeglib.h", "libjpeg-dev"),
    ("lber.h", "libldap2-dev"),
    ("ldap.h", "libldap2-dev"),
    ("leveldb/", "libleveldb-dev"),
    ("libmemcached/", "libmemcached-dev"),
    ("libpq-fe.h", "libpq-dev"),
    ("librdkafka/", "librdkafka-dev"),
    ("libxml/", "libxml2-dev"),
    ("libxslt/", "libxslt1-dev"),
    ("lmdb.h", "liblmdb-dev"),
    ("lzma.h", "liblzma-dev"),
    ("magic.h", "libmagic-dev"),
    ("MagickWand/", "libmagickwand-dev"),
    ("mpc.h", "libmpc-dev"),
    ("mpfr.h", "libmpfr-dev"),
    ("mysql.h", "default-libmysqlclient-dev"),
    ("mysql/", "default-libmysqlclient-dev"),
    ("oniguruma.h", "libonig-dev"),
    ("openssl/", "libssl-dev"),
    ("pcre.h", "libpcre3-dev"),
    ("pcre2.h", "libpcre2-dev"),
    ("png.h", "libpng-dev"),
    ("poppler/", "libpoppler-cpp-dev"),
    ("portaudio.h", "portaudio19-dev"),
    ("proj.h", "libproj-dev"),
    ("re2/", "libre2-dev"),
    ("readline/", "libreadline-dev"),
    ("sasl/", "libsasl2-dev"),
    ("sasl.h", "libsasl2-dev"),
    ("snappy-c.h", "libsnappy-dev"),
    ("sodium.h", "libsodium-dev"),
    ("spatialindex/", "libspatialindex-dev"),
    ("sql.h", "unixodbc-dev"),
    ("sqlite3.h", "libsqlite3-dev"),
    ("systemd/", "libsystemd-dev"),
    ("tesseract/", "libtesseract-dev"),
    ("tiff.h", "libtiff-dev"),
    ("unicode/", "libicu-dev"),
    ("uuid/uuid.h", "uuid-dev"),
    ("webp/", "libwebp-dev"),
    ("xmlsec/", "libxmlsec1-dev"),
    ("yaml.h", "libyaml-dev"),
    ("zbar.h", "libzbar-dev"),
    ("zlib.h", "zlib1g-dev"),
    ("zmq.h", "libzmq3-dev"),
    ("zstd.h", "libzstd-dev"),
)

#: What a package's own build says when something is not there, an example, and the Debian package.
WORDS = (
    (r"\s*Error: pg_config executable not found", "Error: pg_config executable not found.", "libpq-dev"),
    (
        r"\s*(?:Exception|OSError): mysql_config not found",
        "OSError: mysql_config not found",
        "default-libmysqlclient-dev",
    ),
    (
        r"\s*Exception: Can not find valid pkg-config name",
        "Exception: Can not find valid pkg-config name.",
        "default-libmysqlclient-dev",
    ),
    (
        r"\s*Error: Please make sure the libxml2 and libxslt development packages are installed",
        "Error: Please make sure the libxml2 and libxslt development packages are installed.",
        "libxslt1-dev",
    ),
    (
        r"\s*(?:__main__\.)?RequiredDependencyException: jpeg",
        "RequiredDependencyException: jpeg",
        "libjpeg-dev",
    ),
    (
        r"\s*(?:__main__\.)?RequiredDependencyException: zlib",
        "RequiredDependencyException: zlib",
        "zlib1g-dev",
    ),
    (
        r".*Dependency \"cairo\" not found, tried pkgconfig",
        '../cairo/meson.build:31:12: ERROR: Dependency "cairo" not found, tried pkgconfig',
        "libcairo2-dev",
    ),
    (
        r".*Dependency \"?'?girepository-(?:1|2)\.0\"?'? ?(?:is required but )?not found",
        "../meson.build:31:9: ERROR: Dependency 'girepository-2.0' is required but not found.",
        "libgirepository-2.0-dev",
    ),
    (
        r"\s*(?:error: )?A GDAL API version must be specified",
        "A GDAL API version must be specified. Provide a path "
        "to gdal-config using a GDAL_CONFIG environment variable",
        "libgdal-dev",
    ),
    (r"\s*Could not find proj executable in PATH", "Could not find proj executable in PATH", "libproj-dev"),
    (
        r".*Could not run curl-config",
        "__main__.ConfigurationError: Could not run curl-config: [Errno 2] No "
        "such file or directory: 'curl-config'",
        "libcurl4-openssl-dev",
    ),
    (
        r".*(?:gcc|g\+\+|cc|c\+\+)'? failed: No such file or directory",
        "error: command 'gcc' failed: No such file or directory",
        "build-essential",
    ),
    (
        r".*gyp ERR! stack Error: not found: make",
        "npm error gyp ERR! stack Error: not found: make",
        "build-essential",
    ),
    (
        r".*gyp ERR! find Python .*Python is not set",
        "npm error gyp ERR! find Python Python is not set from command line or npm configuration",
        "python3",
    ),
    (
        r".*(?:command 'cmake' failed|CMake must be installed to build|Cannot find cmake|Unable to find CMake)",
        "RuntimeError: CMake must be installed to build the following extensions: dlib",
        "cmake",
    ),
    (
        r".*(?:command 'swig'|swig: command not found|command 'swig' failed)",
        "error: command 'swig' failed: No such file or directory",
        "swig",
    ),
    (
        r"\s*(?:error: can't find Rust compiler|Cargo, the Rust package manager, is not installed or is not on PATH)",
        "error: can't find Rust compiler",
        "cargo",
    ),
    (r".*pkg-config: (?:command )?not found", "/bin/sh: 1: pkg-config: not found", "pkg-config"),
)

#: Names of shared libraries, and what brings them.
LIBRARIES = (
    ("libGL.so.1", "libgl1"),
    ("libgthread-2.0.so.0", "libglib2.0-0t64"),
    ("libglib-2.0.so.0", "libglib2.0-0t64"),
    ("libgobject-2.0-0", "libglib2.0-0t64"),
    ("libpango-1.0-0", "libpango-1.0-0"),
    ("libpangocairo-1.0-0", "libpangocairo-1.0-0"),
    ("libcairo.so.2", "libcairo2"),
    ("libpq.so.5", "libpq5"),
    ("libmysqlclient.so", "libmysqlclient21"),
    ("libmariadb.so.3", "libmariadb3"),
    ("libldap.so.2", "libldap2"),
    ("libldap-2.5.so.0", "libldap2"),
    ("libxslt.so.1", "libxslt1.1"),
    ("libxml2.so.2", "libxml2"),
    ("libmagic.so.1", "libmagic1t64"),
    ("libsndfile.so.1", "libsndfile1"),
    ("libportaudio.so.2", "libportaudio2"),
    ("libzbar.so.0", "libzbar0t64"),
    ("libgdal.so", "libgdal34t64"),
    ("libgeos_c.so.1", "libgeos-c1t64"),
    ("libsqlite3.so.0", "libsqlite3-0"),
    ("libnss3.so", "libnss3"),
    ("libatk-1.0.so.0", "libatk1.0-0t64"),
    ("libgomp.so.1", "libgomp1"),
    ("libtesseract.so.5", "libtesseract5"),
    ("libsodium.so.23", "libsodium23"),
)


def _headers() -> Iterable[Sign]:
    for path, package in HEADERS:
        whole = path + ("x.h" if path.endswith("/") else "")
        pattern = path.replace(".", r"\.")
        yield Sign(
            rf".*fatal error: (?P<missing>(?:[\w-]+/)?{pattern}[\w./-]*): No such file",
            f"Modules/common.h:15:10: fatal error: {whole}: No such file or directory",
            closed_by=_GAVE_UP,
            values={"package": package},
        )


def _words() -> Iterable[Sign]:
    for pattern, example, package in WORDS:
        yield Sign(pattern, example, closed_by=_GAVE_UP, values={"package": package})


def _libraries() -> Iterable[Sign]:
    for name, package in LIBRARIES:
        pattern = name.replace(".", r"\.")
        yield Sign(
            rf".*(?:Error: |cannot load library '){pattern}[\w.]*(?:: cannot open shared object|')",
            f"ImportError: {name}: cannot open shared object file: No such file or directory",
            values={"package": package, "missing": name},
        )


BUILD = (
    Cause(
        "system-package-missing",
        "a package is built from its source and needs the system package {package}",
        f"Name {{package}} {_WHERE}. {_WHEEL}",
        (*_headers(), *_words()),
        "gcc, setuptools, and the packages' own builds",
        details=(r"\s*ERROR: Failed (?:building wheel for|to build) ",),
    ),
    Cause(
        "system-header-missing",
        "a package is built from its source and needs the C header {missing}",
        f"Find the Ubuntu package that has {{missing}} at https://packages.ubuntu.com, and name it {_WHERE}. {_WHEEL}",
        (
            Sign(
                r".*fatal error: (?P<missing>[\w./+-]+): No such file or directory",
                "ext.c:1:10: fatal error: nosuch.h: No such file or directory",
                closed_by=_GAVE_UP,
            ),
        ),
        "gcc",
        details=(r"\s*ERROR: Failed (?:building wheel for|to build) ",),
    ),
)

START = (
    Cause(
        "system-library-missing",
        "the tool needs the shared library {missing}, which the image does not have",
        f"Name {{package}}, which brings it, {_WHERE}.",
        tuple(_libraries()),
        "CPython, glibc, cffi",
    ),
    Cause(
        "system-library-unknown",
        "the tool needs the shared library {missing}, which the image does not have",
        f"Find the Ubuntu package that has {{missing}} at https://packages.ubuntu.com, and name it {_WHERE}.",
        (
            Sign(
                r".*Error: (?P<missing>lib[\w.+-]+\.so[\w.]*): cannot open shared object file",
                "ImportError: libnosuch.so.1: cannot open shared object file: No such file or directory",
            ),
            Sign(
                r".*error while loading shared libraries: (?P<missing>lib[\w.+-]+): cannot open",
                "bin/tool: error while loading shared libraries: libnosuch.so.1: cannot open shared object file",
            ),
        ),
        "CPython, glibc",
    ),
)
