# SPDX-License-Identifier: Apache-2.0
# By weight format, engines in turns on one file, from results/speed_peers.csv: share of the
# int8 peak in a prefill, tokens a second in decoding.
#   gnuplot -e "out='F.svg'" notebooks_data/plots/share_by_format.gp
if (!exists("table")) table = 'notebooks_data/results/speed_peers.csv'
if (!exists("out")) out = 'share_by_format.svg'

set terminal svg size 1000,420 font 'sans,13' background rgb 'white' enhanced
set output out
set datafile separator ','
formats = 'q4_0 q4_k q6_k q8_0'
# place, number of one engine's last rows of a test on the 12-layer files with two threads
row(engine, test, what) = sprintf("< awk -F, -v e='%s' -v t='%s' -v w='%s' -v f='%s' 'BEGIN { n = " \
    . "split(f, name, \" \"); for (i = 1; i <= n; i++) at[\"synth-12b-12layers-\" name[i] " \
    . "\".gguf\"] = i } $4 == 2 && $8 == e && $10 == w && index($9, t) == 1 && " \
    . "$9 !~ /@/ && at[$6] { last[at[$6]] = $11 } " \
    . "END { for (i in last) printf \"%%d,%%s\\n\", i, last[i] }' %s", engine, test, what, formats, table)
engines = system(sprintf("awk -F, 'NR > 1 { print $8 }' %s | sort -ru | tr '\n' ' '", table))
shown(e) = e eq 'opt' ? 'this engine' : e
colour(e) = e eq 'opt' ? '#0072b2' : e eq 'ik_llama.cpp' ? '#e69f00' : '#009e73'

set grid ytics lc rgb '#dddddd' lw 0.7
set border 3 lc rgb '#555555'
set tics nomirror out
set key outside bottom center horizontal samplen 2
set style fill solid 0.9 noborder
set boxwidth 0.24
set yrange [0:*]
set xrange [0.5:4.5]
set xtics ('Q4\_0' 1, 'Q4\_K' 2, 'Q6\_K' 3, 'Q8\_0' 4)
set multiplot layout 1,2 title '12 of the 48 layers, two threads of a Zen 5'
do for [i = 1:2] {
    test = i == 1 ? 'pp512' : 'tg32'
    what = i == 1 ? 'share' : 'rate'
    set title i == 1 ? 'prefill of 512 tokens' : 'decoding, empty context'
    set ylabel i == 1 ? 'share of the int8 peak' : 'tokens a second'
    if (i == 1) { set yrange [0:1] } else { set yrange [0:*] }
    plot for [j = 1:words(engines)] row(word(engines, j), test, what) \
        using ($1 + 0.26 * (j - 0.5 - words(engines) / 2.0)):2 with boxes \
        lc rgb colour(word(engines, j)) title shown(word(engines, j)) noenhanced
}
unset multiplot
